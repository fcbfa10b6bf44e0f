#!/usr/bin/env bash
# Seed sweep of SoftCoT++: evaluate_softcotpp.py over the seeds 41 to 45, in one process that loads the models once.
#
#   bash run_batch_softcotpp.sh --base_model_id ID --assistant_model_id ID --params_file_name FILE \
#       --task_name gsm8k --num_thought_tokens 4 --num_scaling_times 10 [--num_return_sequences 1] \
#       [--seed_from 41] [--seed_to 45] [--seed S] [OPTION ...]
#
# Options, seeds and exit code are as in run_batch_softcot.sh.

script=evaluate_softcotpp.py
source "$(dirname -- "${BASH_SOURCE[0]}")/run_batch_softcot.sh"
