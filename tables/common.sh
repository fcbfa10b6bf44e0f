# shellcheck shell=bash disable=SC2034
#
# Environment variables of the tables:
#   DRY_RUN=1       print the commands, run nothing
#   TASKS           default: "gsm8k asdiv-aug aqua strategyqa du"; du is evaluated with gsm8k's projection
#   NAME            first part of the training runs' names in ckpt/ (default: table)
#   OUT             folder of logs/ and summary/ (default: results/<table>)
#   TRAIN_OPTIONS   more options of every training, such as "--k_shot 100 --dtype float32"
#   EVAL_OPTIONS    more options of every evaluation, such as "--test_k 50 --seed_to 42"
#   PYTHON          the interpreter (default: python)
# Run again, a table goes on: what is finished is kept, and another data set, prompt or option is refused.
# Exit code: that of the first command that fails; 2 for an argument that is not understood.

set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=${PYTHON:-python}
NAME=${NAME:-table}
OUT=${OUT:-results/$(basename "$0" .sh)}
read -r -a TASKS <<<"${TASKS:-gsm8k asdiv-aug aqua strategyqa du}"
read -r -a TRAIN_OPTIONS <<<"${TRAIN_OPTIONS:-}"
read -r -a EVAL_OPTIONS <<<"${EVAL_OPTIONS:-}"

usage() {
    awk 'FNR > 1 { if (!/^#/) nextfile; sub(/^# ?/, ""); print }' "$0" "${BASH_SOURCE[0]}"
}
case ${1:-} in
-h | --help) usage && exit ;;
-*) usage >&2 && exit 2 ;;
esac
(($# % 2 == 0)) || { usage >&2 && exit 2; }

run() { # run python SCRIPT OPTION...: print a command, and run it
    printf '\n$'
    printf ' %q' "$@"
    printf '\n'
    if [[ ${DRY_RUN:-} != 1 ]]; then
        "$PYTHON" "$ROOT/$2" "${@:3}"
    fi
}
