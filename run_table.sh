#!/usr/bin/env bash
# A whole table by one command: trains what is missing, evaluates each method on each task over the
# seeds, and summarizes. Run again, it goes on: trained and evaluated parts are skipped.
#
#   bash run_table.sh --table softcot \
#       --base_model_id meta-llama/Llama-3.1-8B-Instruct --assistant_model_id meta-llama/Llama-3.2-1B-Instruct \
#       [--tasks "gsm8k asdiv-aug aqua strategyqa du"] [--data_dir FOLDER] [OPTION ...] [-- EVALUATION OPTION ...]
#
#   --table NAME    softcot: zero_shot cot_unk assist_cot lora softcot
#                   softcotpp: softcot_sc softcot_p softcotpp softcotpp_sc
#                   controls: zero_shot zero untrained shuffled softcot
#                   all: every method of these (default: softcot)
#   --methods LIST  methods by name, in place of a table's; lists are quoted words or separated by commas
#   --tasks LIST    default: gsm8k asdiv-aug aqua strategyqa du
#   --data_dir DIR  DIR/<task> holds a task's files where there is such a folder, else DIR itself does
#   --output_name   first part of the training runs' names (default: table)
#   --out DIR       DIR/logs: logs and result files; DIR/summary: tables and plots (default: results/<output_name>)
#   --num_thought_tokens 4, --train_thought_tokens 32    L in evaluation and in training
#   --num_scaling_times 10, --num_return_sequences 10    N of SoftCoT++ and SoftCoT-P; R of the methods with _sc
#   --perturb_std 0.1          noise of softcot_p (the paper's is not known)
#   --model_name scaling-nce   how SoftCoT++ is trained
#   --train_on gsm8k           the training task behind du, which has no training set
#   --softcot_params FILE, --softcotpp_params FILE, --lora_ckpt FOLDER    in place of training; may hold {task}
#   --batch_size 4, --n_epochs 10, --seed_from 41, --seed_to 45
#   --dry_run       print the commands, run nothing
#
# Options of training (--k_shot, --learning_rate, ...), of evaluation (--test_k, --temperature, ...)
# and of both (--dtype, --prompt_dir, ...) are passed on; what stands after a lone -- goes to every
# evaluation as it is. --name VALUE and --name=VALUE mean the same. The environment variable PYTHON
# names the interpreter (python). Exit code: that of the first command that fails, or 2 for
# arguments that this script does not understand.

set -euo pipefail

declare -A setting=(
    [--table]=softcot [--methods]='' [--tasks]='gsm8k asdiv-aug aqua strategyqa du' [--data_dir]='' [--out]=''
    [--base_model_id]=meta-llama/Llama-3.1-8B-Instruct [--assistant_model_id]=meta-llama/Llama-3.2-1B-Instruct
    [--output_name]=table [--num_thought_tokens]=4 [--train_thought_tokens]=32 [--num_scaling_times]=10
    [--num_return_sequences]=10 [--perturb_std]=0.1 [--model_name]=scaling-nce [--train_on]=gsm8k
    [--softcot_params]='' [--softcotpp_params]='' [--lora_ckpt]='' [--batch_size]=4 [--n_epochs]=10
    [--seed_from]=41 [--seed_to]=45
)
training_options=(--k_shot --dev_k --max_len --learning_rate --gradient_accumulation_steps --micro_batch_size --projection_dtype)
evaluation_options=(
    --test_k --split --eval_batch_size --max_new_tokens --temperature --top_p --top_k --engine --tensor_parallel_size
    --pipeline_parallel_size --data_parallel_size --distributed_executor_backend --vllm_args
)
evaluation_flags=(--greedy --no_generation_prompt --print_input --print_response --overwrite)
common_options=(
    --prompt_dir --dtype --device --base_device_map --quantization
    --base_thought_tokens --assistant_thought_tokens --assistant_initial_token
)
common_flags=(--trust_remote_code)
declare -A methods_of=(
    [softcot]='zero_shot cot_unk assist_cot lora softcot'
    [softcotpp]='softcot_sc softcot_p softcotpp softcotpp_sc'
    [controls]='zero_shot zero untrained shuffled softcot'
    [all]='zero_shot cot_unk assist_cot lora zero untrained shuffled softcot softcot_sc softcot_p softcotpp softcotpp_sc'
)
declare -A title_of=(
    [zero_shot]='Zero-Shot CoT' [cot_unk]='CoT-Unk' [assist_cot]='Assist-CoT' [lora]='LoRA' [zero]='Zero vectors'
    [untrained]='Untrained projection' [shuffled]='Shuffled thoughts' [softcot]='SoftCoT' [softcot_sc]='SoftCoT-SC'
    [softcot_p]='SoftCoT-P' [softcotpp]='SoftCoT++' [softcotpp_sc]='SoftCoT++'
)

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=run_arguments.sh
source "$here/run_arguments.sh"

mapfile -t value_options < <(
    printf '%s\n' "${!setting[@]}" "${training_options[@]}" "${evaluation_options[@]}" "${common_options[@]}" | sort)
flags=(--dry_run "${evaluation_flags[@]}" "${common_flags[@]}")
dry_run='' for_training=() for_evaluation=()
while (($#)); do
    if [[ $1 == -- ]]; then
        for_evaluation+=("${@:2}")
        break
    fi
    read_option "$@"
    shift "$words"
    if [[ $name == --dry_run ]]; then
        dry_run=yes
    elif is_in "$name" "${!setting[@]}"; then
        setting[$name]=${option#*=}
    elif [[ -n $option ]]; then
        ! is_in "$name" "${training_options[@]}" "${common_options[@]}" "${common_flags[@]}" ||
            for_training+=("$option")
        ! is_in "$name" "${evaluation_options[@]}" "${evaluation_flags[@]}" "${common_options[@]}" "${common_flags[@]}" ||
            for_evaluation+=("$option")
    fi
done

is_in "${setting[--table]}" "${!methods_of[@]}" || fail "--table ${setting[--table]}: choose softcot, softcotpp, controls or all"
read -r -d '' -a methods <<<"${setting[--methods]//,/ } " || true
((${#methods[@]})) || read -r -a methods <<<"${methods_of[${setting[--table]}]}"
read -r -d '' -a tasks <<<"${setting[--tasks]//,/ } " || true
((${#tasks[@]})) || fail '--tasks names no task'
for method in "${methods[@]}"; do
    is_in "$method" "${!title_of[@]}" || fail "--methods: unknown method '$method'; there are ${methods_of[all]}"
done
for task in "${tasks[@]}" "${setting[--train_on]}"; do
    is_in "$task" gsm8k asdiv-aug aqua strategyqa du || fail "unknown task '$task'; there are gsm8k asdiv-aug aqua strategyqa du"
done
[[ ${setting[--train_on]} != du ]] || fail '--train_on du: it has no training set'
for name in --seed_from --seed_to --num_thought_tokens --train_thought_tokens --num_scaling_times; do
    [[ ${setting[$name]} =~ ^(0|[1-9][0-9]*)$ ]] || fail "$name wants a whole number, found '${setting[$name]}'"
done
((setting[--seed_from] <= setting[--seed_to])) || fail "--seed_to is below --seed_from"

python=${PYTHON:-python}
out=${setting[--out]:-results/${setting[--output_name]}}
base=${setting[--base_model_id]%/} assistant=${setting[--assistant_model_id]%/}

run() { # run SCRIPT ARGUMENTS...: shown, then run
    printf '\n$ %s' "${1##*/}"
    printf ' %q' "${@:2}"
    printf '\n'
    [[ $dry_run ]] || "$python" "$@"
}

data_of() { # data_of TASK: sets `data` to the --data_dir argument, or to nothing
    data=()
    [[ -n ${setting[--data_dir]} ]] || return 0
    data=("--data_dir=${setting[--data_dir]}")
    [[ ! -d ${setting[--data_dir]}/$1 ]] || data=("--data_dir=${setting[--data_dir]}/$1")
}

planned=()
# trained softcot|softcotpp|lora TASK: sets `trained` to the given or the trained file, training it where it is not there
trained() {
    local kind=$1 task=$2 given length=${setting[--train_thought_tokens]} chains='' end='' file=projection.bin
    local script=train_softcot.py epochs more=()
    [[ $task != du ]] || task=${setting[--train_on]}
    case $kind in
        softcot) given=${setting[--softcot_params]} ;;
        softcotpp)
            given=${setting[--softcotpp_params]} script=train_softcotpp.py chains=-${setting[--num_scaling_times]}
            more=("--num_scaling_times=${setting[--num_scaling_times]}" "--model_name=${setting[--model_name]}")
            [[ ${setting[--model_name]} != scaling-nce ]] || end=-nce
            ;;
        lora) given=${setting[--lora_ckpt]} length=0 file=base_model more=(--tune_base_model) ;;
    esac
    if [[ -n $given ]]; then
        trained=${given//'{task}'/"$task"}
        [[ -e $trained || $dry_run ]] || fail "$kind: no $trained"
        return
    fi
    epochs=$("$python" -c 'import sys; print(float(sys.argv[1]))' "${setting[--n_epochs]}") ||
        fail "--n_epochs wants a number, found '${setting[--n_epochs]}'"
    trained=ckpt/${setting[--output_name]}-$task-$epochs-$length$chains-${base##*/}-${assistant##*/}$end/$file
    data_of "$task"
    local training=(
        "$here/$script" "--large_model_id=$base" "--small_model_id=$assistant" "--task_name=$task"
        "--output_name=${setting[--output_name]}" "--batch_size=${setting[--batch_size]}"
        "--n_epochs=${setting[--n_epochs]}" "--num_thought_tokens=$length" --resume
        "${data[@]}" "${more[@]}" "${for_training[@]}"
    )
    local command=${trained%/*}/.command this
    this=$(printf '%q ' "${training[@]}" && sums_of "$task")
    if [[ -e $trained ]]; then # the name tells neither options nor data
        [[ ! -e $command || $this == "$(cat "$command")" ]] ||
            fail "$trained was trained by another command or on other data or prompts ($command): take another --output_name, or remove the folder"
        return
    fi
    ! is_in "$trained" "${planned[@]}" || return 0
    planned+=("$trained") # a dry run shows each training once
    run "${training[@]}"
    [[ ! $dry_run ]] || return 0
    [[ -e $trained ]] || fail "training did not write $trained"
    printf '%s\n' "$this" >"$command"
}

sums_of() { # checksums of the data and the prompts of a task, read by `data_of`
    local folder=${data[*]:-} prompts="$here/data_loader/prompts" word
    for word in "${for_evaluation[@]}"; do
        [[ $word != --prompt_dir=* ]] || prompts=${word#--prompt_dir=}
    done
    folder=${folder#--data_dir=}
    find "${folder:-$here/data/$1}" "$prompts" -maxdepth 1 -type f ! -name '*.md' -exec cksum {} + 2>/dev/null | sort || true
}

weights_of() { # a checksum of a projection or an adapter
    local file=$1
    [[ ! -d $file ]] || file=$file/adapter_model.safetensors
    [[ ! -f $file ]] || cksum <"$file"
}

for task in "${tasks[@]}"; do
    for method in "${methods[@]}"; do
        script=evaluate_softcot.py length=${setting[--num_thought_tokens]} trained='' options=()
        case $method in
            zero_shot) length=0 ;;
            cot_unk) options=(--thoughts=placeholder) ;;
            assist_cot) options=(--thoughts=assistant_text) ;;
            zero) options=(--thoughts=zero) ;;
            untrained) options=(--thoughts=untrained) ;;
            lora)
                trained lora "$task"
                length=0 options=(--tune_base_model "--base_model_ckpt=$trained")
                ;;
            softcotpp*) trained softcotpp "$task" ;;
            *) trained softcot "$task" ;;
        esac
        case $method in
            shuffled) options=(--thoughts=shuffled) ;;
            softcot_p) script=evaluate_softcotpp.py options=("--perturb_std=${setting[--perturb_std]}") ;;
            softcotpp*) script=evaluate_softcotpp.py options=("--model_name=${setting[--model_name]}") ;;
        esac
        [[ $script != evaluate_softcotpp.py ]] || options+=("--num_scaling_times=${setting[--num_scaling_times]}")
        [[ $method != *_sc ]] || options+=("--num_return_sequences=${setting[--num_return_sequences]}")
        [[ $method == lora || -z $trained ]] || options+=("--params_file_name=$trained")
        data_of "$task"
        logs=$out/logs/$task/$method
        evaluation=(
            "$here/$script" "--base_model_id=$base" "--assistant_model_id=$assistant" "--task_name=$task"
            "--num_thought_tokens=$length" "--seed_from=${setting[--seed_from]}" "--seed_to=${setting[--seed_to]}"
            "--log_dir=$logs" "${data[@]}" "${options[@]}" "${for_evaluation[@]}"
        )
        # What is finished need not even load its models: the same command, data, prompts and trained weights, all
        # seeds' files.
        this=$(printf '%q ' "${evaluation[@]}" && sums_of "$task" && weights_of "$trained")
        if [[ $this == "$(cat "$logs/.done" 2>/dev/null)" ]] && ! is_in --overwrite "${for_evaluation[@]}" &&
            (($(find "$logs" -name '*.jsonl' | wc -l) >= setting[--seed_to] - setting[--seed_from] + 1)); then
            printf '\n%s, %s: done before\n' "$task" "$method"
            continue
        fi
        run "${evaluation[@]}"
        [[ $dry_run ]] || printf '%s\n' "$this" >"$logs/.done"
    done
done
titles=()
for method in "${methods[@]}"; do
    titles+=("${title_of[$method]}")
done
run "$here/summarize_results.py" "$out/logs" --out "$out/summary" --tasks "${tasks[@]}" --methods "${titles[@]}"
