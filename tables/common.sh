# shellcheck shell=bash disable=SC2034
#
# Environment variables of the tables:
#   DRY_RUN=1       print the commands, run nothing
#   TASKS           default: "gsm8k asdiv-aug aqua strategyqa du"; du is evaluated with gsm8k's projection
#   N_EPOCHS        of every training, a whole number (default: 10)
#   L_TRAIN         number of thought tokens in training (default: 32)
#   NAME            first part of the training runs' names in ckpt/ (default: table)
#   OUT             folder of logs/ and summary/ (default: results/<table>)
#   TRAIN_OPTIONS   more options of every training, such as "--k_shot 100 --dtype float32"; none that names the run
#   EVAL_OPTIONS    more options of every evaluation, such as "--test_k 50 --seed_to 42"; none that makes another row
#   PYTHON          the interpreter (default: python)
# Run again, a table continues: what is finished is kept, and another data set, prompt or option is refused.
# Exit code: that of the first command that fails; 2 for an argument or a variable that is not understood.

set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=${PYTHON:-python}
NAME=${NAME:-table}
OUT=${OUT:-results/$(basename "$0" .sh)}
N_EPOCHS=${N_EPOCHS:-10}
L_TRAIN=${L_TRAIN:-32}
read -r -a TASKS <<<"${TASKS:-gsm8k asdiv-aug aqua strategyqa du}"
read -r -a TRAIN_OPTIONS <<<"${TRAIN_OPTIONS:-}"
read -r -a EVAL_OPTIONS <<<"${EVAL_OPTIONS:-}"

usage() {
    awk 'FNR > 1 { if (!/^#/) nextfile; sub(/^# ?/, ""); print }' "$0" "${BASH_SOURCE[0]}"
}
refuse() {
    echo "error: $1" >&2
    exit 2
}
case ${1:-} in
-h | --help) usage && exit ;;
-*) usage >&2 && refuse "$1: the arguments are models, options are environment variables" ;;
esac
(($# % 2 == 0)) || { usage >&2 && refuse "$# models: give pairs, a base model and its assistant"; }
for word in "$@"; do
    [[ ${word%/} ]] || refuse "a model's id is empty: give a Hub id or a directory"
done
command -v "$PYTHON" >/dev/null || refuse "PYTHON is '$PYTHON': no such command"
[[ $NAME =~ ^[^/[:space:]]+$ ]] || refuse "NAME is '$NAME': give a name without / and blanks"
((${#TASKS[@]})) || refuse "TASKS is empty: name tasks, or leave it out"
for task in "${TASKS[@]}"; do
    [[ " gsm8k asdiv-aug aqua strategyqa du " == *" $task "* ]] || refuse "TASKS has '$task', which is no task"
done
[[ -z $(printf '%s\n' "${TASKS[@]}" | sort | uniq -d) ]] || refuse "TASKS is '${TASKS[*]}': name each task once"
[[ $N_EPOCHS =~ ^[1-9][0-9]*$ ]] || refuse "N_EPOCHS is '$N_EPOCHS': give a whole number, 1 or more"
[[ $L_TRAIN =~ ^[1-9][0-9]*$ ]] || refuse "L_TRAIN is '$L_TRAIN': give a whole number, 1 or more"
# The evaluations find what was trained by the run's name.
for word in "${TRAIN_OPTIONS[@]}"; do
    case ${word%%=*} in
    --n_epochs | --num_thought_tokens) refuse "$word in TRAIN_OPTIONS: set N_EPOCHS or L_TRAIN" ;;
    --output_name) refuse "$word in TRAIN_OPTIONS: set NAME" ;;
    --task_name | --large_model_id | --small_model_id | --num_scaling_times | --model_name)
        refuse "$word in TRAIN_OPTIONS changes the run's name: TASKS and the arguments choose tasks and models"
        ;;
    --tune_base_model | --tune_assistant_model)
        refuse "$word in TRAIN_OPTIONS: the evaluations of the table do not give the adapter that it trains"
        ;;
    esac
done
# An evaluation with another one of these is another row of the table.
for word in "${EVAL_OPTIONS[@]}"; do
    case ${word%%=*} in
    --base_model_id | --assistant_model_id | --task_name | --num_thought_tokens | --num_scaling_times | --model_name | \
        --num_return_sequences | --thoughts | --params_file_name | --base_model_ckpt | --assistant_model_ckpt | \
        --tune_base_model | --tune_assistant_model | --log_dir)
        refuse "$word in EVAL_OPTIONS: the table itself gives it, each row its own"
        ;;
    esac
done

trained_on() { # trained_on TASK: print the task whose projection it is evaluated with
    case $1 in
    du) echo gsm8k ;; # du has no training set
    *) echo "$1" ;;
    esac
}
TRAINED=() # what TASKS need trained, each once
for task in "${TASKS[@]}"; do
    trained=$(trained_on "$task")
    [[ " ${TRAINED[*]} " == *" $trained "* ]] || TRAINED+=("$trained")
done

run() { # run python SCRIPT OPTION...: print a command, and run it
    printf '\n$'
    printf ' %q' "$@"
    printf '\n'
    if [[ ${DRY_RUN:-} != 1 ]]; then
        "$PYTHON" "$ROOT/$2" "${@:3}"
    fi
}
