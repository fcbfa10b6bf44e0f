# shellcheck shell=bash disable=SC2034
#
# Environment variables of the tables:
#   DRY_RUN=1       print the commands, run nothing
#   TASKS           default: "gsm8k asdiv-aug aqua strategyqa du"; du is evaluated with gsm8k's projection
#   N_EPOCHS        of every training, a whole number (default: 10)
#   L_TRAIN         number of thought tokens in training (default: 32)
#   NAME            first part of the training runs' names in ckpt/ (default: table)
#   OUT             folder of logs/ and summary/ (default: results/<table>)
#   TRAIN_OPTIONS   more options of every training, such as "--k_shot 100 --dtype float32"; none that names the run.
#                   With --seed 43 give another NAME and OUT; the untrained projection stays that of seed 42
#   EVAL_OPTIONS    more options of every evaluation, such as "--test_k 50 --seed_to 42"; none that the table gives
#   PYTHON          the interpreter (default: python)
# Run again, a table continues: what is finished is kept, and another data set, prompt or option is refused.
# Exit code: that of the first command that fails; 2 for an argument or a variable that is not understood.

set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
NAME=${NAME:-table} OUT=${OUT:-results/$(basename "$0" .sh)} N_EPOCHS=${N_EPOCHS:-10} L_TRAIN=${L_TRAIN:-32}
LLAMA=(meta-llama/Llama-3.1-8B-Instruct meta-llama/Llama-3.2-1B-Instruct)
read -r -d '' -a TASKS <<<"${TASKS:-gsm8k asdiv-aug aqua strategyqa du}" || true # all lines; read fails at the end
read -r -d '' -a TRAIN_OPTIONS <<<"${TRAIN_OPTIONS:-}" || true
read -r -d '' -a EVAL_OPTIONS <<<"${EVAL_OPTIONS:-}" || true

refuse() {
    echo "error: $1" >&2
    exit 2
}
[[ ${1:-} != -* ]] && (($# % 2 == 0)) ||
    refuse "'$*': give pairs of a base model and its assistant; options are environment variables (tables/common.sh)"
for task in "${TASKS[@]}"; do
    [[ $task != harness && -f $ROOT/data_loader/prompts/$task.jinja ]] || refuse "TASKS has '$task', which is no task"
done
[[ $N_EPOCHS/$L_TRAIN =~ ^[1-9][0-9]*/[1-9][0-9]*$ ]] ||
    refuse "N_EPOCHS is '$N_EPOCHS', L_TRAIN is '$L_TRAIN': give whole numbers, 1 or more"
# What names a run, or makes another row of the table.
for word in "${TRAIN_OPTIONS[@]}" "${EVAL_OPTIONS[@]}"; do
    case ${word%%=*} in
    --task_name | --large_model_id | --small_model_id | --base_model_id | --assistant_model_id | --output_name | \
        --n_epochs | --num_thought_tokens | --num_scaling_times | --model_name | --num_return_sequences | --thoughts | \
        --params_file_name | --base_model_ckpt | --assistant_model_ckpt | --tune_base_model | --tune_assistant_model | \
        --log_dir | --perturb_std)
        refuse "$word in TRAIN_OPTIONS or EVAL_OPTIONS: the table gives it (set TASKS, NAME, N_EPOCHS, L_TRAIN or OUT)"
        ;;
    esac
done
[[ " ${EVAL_OPTIONS[*]}" != *" --seed"[=\ ]* ]] || refuse "--seed in EVAL_OPTIONS: give --seed_from and --seed_to (switches.sh: SEEDS)"

run() { # run python SCRIPT OPTION...: print a command, and run it
    printf '\n$'
    printf ' %q' "$@"
    printf '\n'
    [[ ${DRY_RUN:-} == 1 ]] || "${PYTHON:-python}" "$ROOT/$2" "${@:3}"
}
train() { # train METHOD L [OPTION...]: a method on $task
    run python "train_$1.py" --large_model_id "$BASE" --small_model_id "$ASSISTANT" --output_name "$NAME" \
        --batch_size 4 --task_name "$task" --num_thought_tokens "$2" --n_epochs "$N_EPOCHS" --resume \
        "${TRAIN_OPTIONS[@]}" "${@:3}"
}
without_levers() { # without_levers COMMAND...: run it with TRAIN_OPTIONS but for the levers
    local words=${TRAIN_OPTIONS[*]} TRAIN_OPTIONS
    read -r -a TRAIN_OPTIONS <<<"$(sed -E 's/--thought_(filler|scaling)[ =][^ ]+//g' <<<"$words")"
    "$@"
}
evaluate() { # evaluate METHOD FOLDER L [OPTION...]: a row of the table on $task
    run python "evaluate_$1.py" --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
        --num_thought_tokens "$3" "${@:4}" --seed_from 41 --seed_to 45 --print_response \
        --log_dir "$OUT/logs/$task${2:+/$2}" "${EVAL_OPTIONS[@]}"
}
trained() { # trained L [END]: print the folder of the training for $task
    local trained_on=$task
    [[ $task != du ]] || trained_on=gsm8k # du has no training set
    echo "ckpt/$NAME-$trained_on-$N_EPOCHS.0-$1-${BASE##*/}-${ASSISTANT##*/}${2:-}"
}
train_task() {
    train softcot "$L_TRAIN" # the same run in every table
}
each_pair() { # each_pair BASE ASSISTANT ...: call train_task and then evaluate_task for each $task of a pair
    while (($#)); do
        BASE=${1%/} ASSISTANT=${2%/}
        shift 2
        for task in $(printf '%s\n' "${TASKS[@]}" | sed 's/^du$/gsm8k/' | awk '!seen[$0]++'); do
            train_task
        done
        for task in "${TASKS[@]}"; do
            evaluate_task
        done
    done
}
summarize() { # summarize [OPTION...]
    run python summarize_results.py "$OUT/logs" --out "$OUT/summary" --tasks "${TASKS[@]}" "$@"
}
