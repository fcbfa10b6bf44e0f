#!/usr/bin/env bash
# Seed sweep around evaluate_softcot.py: one process loads the models once and serves all seeds.
#
#   bash run_batch_softcot.sh --base_model_id ID --assistant_model_id ID \
#       --params_file_name FILE --task_name gsm8k --num_thought_tokens 4 \
#       [--seed_from 41] [--seed_to 45] [--log_dir inference_logs] [--run_name ""] [OPTION ...]
#
# Takes every option of evaluate_softcot.py and passes it on as it is; --name VALUE and
# --name=VALUE mean the same. Seeds run from --seed_from to --seed_to, both included;
# --seed S runs the one seed S. The environment variable PYTHON names the interpreter (python).
# Exit code: the evaluation's own, or 2 for arguments that this script does not understand.

set -euo pipefail

value_options=(
    --base_model_id --assistant_model_id --params_file_name --base_model_ckpt
    --assistant_model_ckpt --num_thought_tokens --num_return_sequences
    --task_name --test_k --data_dir --split --prompt_dir
    --thoughts --perturb_std
    --engine --tensor_parallel_size --pipeline_parallel_size --data_parallel_size
    --distributed_executor_backend --vllm_args --base_device_map --quantization
    --eval_batch_size --max_new_tokens --temperature --top_p --top_k --dtype --device
    --seed --seed_from --seed_to --log_dir --run_name --results_dir
    --base_thought_tokens --assistant_thought_tokens --assistant_initial_token
)
flags=(
    --print_input --print_response --tune_base_model --tune_assistant_model
    --no_generation_prompt --trust_remote_code --greedy --overwrite
)
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    evaluation=evaluate_softcot.py
else # sourced by run_batch_softcotpp.sh, which has set evaluation and more_value_options
    # shellcheck disable=SC2154
    value_options+=("${more_value_options[@]}")
fi

here=$(dirname -- "${BASH_SOURCE[0]}")
# shellcheck source=run_arguments.sh
source "$here/run_arguments.sh"

# Defaults stand first: of an option given twice, the evaluation takes the last.
defaults=(--log_dir=inference_logs --run_name=)
sweep=(--seed_from=41 --seed_to=45)
arguments=()
while (($#)); do
    read_option "$@"
    shift "$words"
    [[ -z $option ]] || arguments+=("$option")
    [[ $name != --seed ]] || sweep=()
done

exec "${PYTHON:-python}" "$here/$evaluation" "${defaults[@]}" "${sweep[@]}" "${arguments[@]}"
