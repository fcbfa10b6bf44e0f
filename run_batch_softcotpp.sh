#!/usr/bin/env bash
# Seed sweep around evaluate_softcotpp.py: one process loads the models once and serves all seeds.
#
#   bash run_batch_softcotpp.sh --base_model_id ID --assistant_model_id ID \
#       --params_file_name FILE --task_name gsm8k --num_thought_tokens 4 \
#       --num_scaling_times 10 [--num_return_sequences 1] \
#       [--seed_from 41] [--seed_to 45] [--log_dir inference_logs] [--run_name ""] [OPTION ...]
#
# Takes every option of evaluate_softcotpp.py and passes it on as it is; --name VALUE and
# --name=VALUE mean the same. Seeds run from --seed_from to --seed_to, both included;
# --seed S runs the one seed S. The environment variable PYTHON names the interpreter (python).
# Exit code: the evaluation's own, or 2 for arguments that this script does not understand.

set -euo pipefail

# Both are read by the script sourced below, which does the rest.
# shellcheck disable=SC2034
evaluation=evaluate_softcotpp.py
# shellcheck disable=SC2034
more_value_options=(--num_scaling_times --model_name)

# shellcheck source=run_batch_softcot.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/run_batch_softcot.sh"
