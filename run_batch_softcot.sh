#!/usr/bin/env bash
# Seed sweep of SoftCoT: evaluate_softcot.py over the seeds 41 to 45, in one process that loads the models once.
#
#   bash run_batch_softcot.sh --base_model_id ID --assistant_model_id ID --params_file_name FILE \
#       --task_name gsm8k --num_thought_tokens 4 [--seed_from 41] [--seed_to 45] [--seed S] [OPTION ...]
#
# Takes the options of evaluate_softcot.py (--help lists them); --seed S runs the one seed S. Exit code: the
# evaluation's own, 2 for wrong arguments. The environment variable PYTHON names the interpreter (python).

sweep=(--seed_from 41 --seed_to 45) # the papers' seeds
for word in "$@"; do
    [[ $word != --seed && $word != --seed=* ]] || sweep=()
done
((${#BASH_SOURCE[@]} > 1)) || script= # run_batch_softcotpp.sh, which sources this file, names its own
exec "${PYTHON:-python}" "$(dirname -- "${BASH_SOURCE[0]}")/${script:-evaluate_softcot.py}" "${sweep[@]}" "$@"
