#!/usr/bin/env bash
# The published protocol, and each of its switches alone, against the corrected protocol: about an hour on one CPU core.
#
#   bash tables/switches.sh [BASE ASSISTANT]      default: the embedded model in both roles
#
# On gsm8k, by default data/mini with its own prompts; each seed has its own training, and greedy evaluation. If a
# switch leaves the first seed's projection.bin, or all its responses, as they are under the corrected protocol, a note
# says so and the other seeds are not run. (TASKS has no effect here; N_EPOCHS is 1 and L_TRAIN 16 by default.)
# More environment variables:
#   SEEDS           of the trainings, each with the evaluation of the same seed (default: "42 43 44")
#   SWITCHES        run these alone only, such as "date last_token" (default: all of PLAN below)
#   SOFTCOTPP=1     SoftCoT++ (N = 2, scaling-nce) instead, with the switch that it alone has: --token_loss_pairs
#   TUNED=1         SoftCoT with a tuned base model instead, and the switch that needs one: --base_adapter
# Each of these has its own OUT by default: results/switches_softcotpp, results/switches_tuned.
# TRAIN_OPTIONS and EVAL_OPTIONS come last, so that they override the sizes below.

METHOD=softcot
[[ ${SOFTCOTPP:-} != 1 ]] || METHOD=softcotpp
[[ ${TUNED:-} == 1 ]] || TUNED=
NAME=${NAME:-switches${TUNED:+_tuned}}
OUT=${OUT:-results/switches$([[ $METHOD == softcot ]] || echo _softcotpp)${TUNED:+_tuned}}
N_EPOCHS=${N_EPOCHS:-1} L_TRAIN=${L_TRAIN:-16}
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
(($#)) || set -- embedded/SmolLM2-135M-Instruct embedded/SmolLM2-135M-Instruct
(($# == 2)) || { usage >&2 && exit 2; }
BASE=${1%/} ASSISTANT=${2%/}
case $METHOD$TUNED in # PLAN: where a switch is turned (training, evaluation or both), its name, its value
softcot1) PLAN=("evaluation base_adapter ignored") ;;
softcotpp1) refuse "SOFTCOTPP=1 with TUNED=1: no switch needs both" ;;
softcotpp) PLAN=("training token_loss_pairs small_base" "training token_loss_pairs yes") ;; # yes: whatever the size
softcot)
    PLAN=(
        "both projection_dtype bfloat16"
        "training last_token dropped"
        "training yes_no_dev_label third_from_end"
        "training too_long cut"
        "both qwen3_tokens qwen2.5"
        "both date today"
        "evaluation generation_prompt by_family"
        "evaluation generation_prompt no" # what by_family is for Llama and Qwen2.5
        "evaluation end_tokens tokenizer"
        "evaluation sampling of_model"
    )
    ;;
esac
known=$(printf '%s\n' "${PLAN[@]}" | cut -d ' ' -f 2 | uniq | xargs)
for switch in ${SWITCHES:-}; do
    [[ " $known " == *" $switch "* ]] || refuse "$switch in SWITCHES: with $METHOD${TUNED:+, tuned,} known are $known"
done
read -r -a SEEDS <<<"${SEEDS:-42 43 44}"
SHARED=(--data_dir "$ROOT/data/mini" --prompt_dir "$ROOT/data/mini/prompts" --dtype float32 --num_thought_tokens "$L_TRAIN")
TRAIN=(--large_model_id "$BASE" --small_model_id "$ASSISTANT" --n_epochs "$N_EPOCHS" --k_shot 400 --batch_size 4
    --learning_rate 4e-3 --resume "${SHARED[@]}")
# The engine is no switch: greedy, the reference engine gives the same responses, one question at a time.
EVAL=(--base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --engine transformers --greedy --max_new_tokens 120
    --eval_batch_size 200 --print_response "${SHARED[@]}")
PAIR=${BASE##*/}-${ASSISTANT##*/} CHAINS='' END=''
if [[ $METHOD == softcotpp ]]; then
    TRAIN+=(--num_scaling_times 2 --model_name scaling-nce)
    EVAL+=(--num_scaling_times 2 --model_name scaling-nce)
    CHAINS=-2 END=-nce
fi
if [[ $TUNED ]]; then
    TRAIN+=(--tune_base_model)
    EVAL+=(--tune_base_model)
fi
CELLS=() # folders of what is in the table
NOTES=() # what changed nothing

projection() { # projection RUN SEED: print where `train` writes it
    echo "ckpt/$NAME-$1-$2-gsm8k-$N_EPOCHS.0-$L_TRAIN$CHAINS-$PAIR$END/projection.bin"
}
share_thought_states() { # share_thought_states RUN SEED: the first run's; a run that needs others computes them
    local first folder
    first=$(dirname "$(projection corrected "${SEEDS[0]}")") folder=$(dirname "$(projection "$1" "$2")")
    if [[ ${DRY_RUN:-} != 1 && -d $first && ! -d $folder ]]; then
        mkdir -p "$folder"
        cp "$first"/thoughts-*.bin "$folder"
    fi
}
train() { # train RUN SEED [OPTION...]
    share_thought_states "$1" "$2"
    run python "train_$METHOD.py" "${TRAIN[@]}" --output_name "$NAME-$1-$2" --seed "$2" "${@:3}" "${TRAIN_OPTIONS[@]}"
}
evaluate() { # evaluate RUN SEED PROJECTION [OPTION...]
    local adapter=()
    [[ ! $TUNED ]] || adapter=(--base_model_ckpt "$(dirname "$3")/base_model")
    run python "evaluate_$METHOD.py" "${EVAL[@]}" --seed "$2" --params_file_name "$3" --log_dir "$OUT/logs/$1" \
        "${adapter[@]}" "${@:4}" "${EVAL_OPTIONS[@]}"
}
same_projection() { # same_projection RUN SEED: as under the corrected protocol
    [[ ${DRY_RUN:-} != 1 ]] && cmp -s "$(projection "$1" "$2")" "$(projection corrected "$2")"
}
same_responses() { # same_responses RUN SEED: all rows but the record
    local file=gsm8k--seed_$2-ntt_$L_TRAIN-nrs_1-$PAIR.jsonl # SoftCoT's: no switch of SoftCoT++ is evaluation's alone
    local own=$OUT/logs/$1/$file other=$OUT/logs/corrected/$file
    [[ ${DRY_RUN:-} != 1 && -f $own && -f $other ]] && cmp -s <(tail -n +2 "$own") <(tail -n +2 "$other")
}
alone() { # alone WHERE SWITCH VALUE: corrected but for one switch in training, in evaluation, or in both
    local name=$2-$3 trained=corrected switch=() seed unchanged
    [[ ! ${SWITCHES:-} || " $SWITCHES " == *" $2 "* ]] || return 0
    [[ $1 == evaluation ]] || trained=$name
    [[ $1 == training ]] || switch=("--$2" "$3")
    for seed in "${SEEDS[@]}"; do
        if [[ $trained == "$name" ]]; then
            train "$name" "$seed" "--$2" "$3"
        fi
        unchanged=$([[ $seed != "${SEEDS[0]}" ]] || ! same_projection "$trained" "$seed" || echo projection.bin)
        if [[ $1 != training || ! $unchanged ]]; then
            evaluate "$name" "$seed" "$(projection "$trained" "$seed")" "${switch[@]}"
            unchanged=$([[ ! $unchanged ]] || ! same_responses "$name" "$seed" || echo responses)
        fi
        if [[ $unchanged ]]; then
            NOTES+=(--note "\`--$2 $3\` changes nothing: the same $unchanged as corrected, seed $seed.")
            return
        fi
    done
    CELLS+=("$OUT/logs/$name")
}

# 1) The two protocols; with a tuned model the corrected one.
for seed in "${SEEDS[@]}"; do
    train corrected "$seed"
    evaluate corrected "$seed" "$(projection corrected "$seed")"
    [[ ! $TUNED ]] || continue
    train published "$seed" --protocol published
    evaluate published "$seed" "$(projection published "$seed")" --protocol published
done
CELLS+=("$OUT/logs/corrected")
[[ $TUNED ]] || CELLS+=("$OUT/logs/published")

# 2) Each switch alone.
for entry in "${PLAN[@]}"; do
    read -r -a words <<<"$entry"
    alone "${words[@]}"
done
[[ $METHOD$TUNED != softcot ]] || NOTES+=(--note "In tables of their own: \`--token_loss_pairs\` (SOFTCOTPP=1) and \
\`--base_adapter\` (TUNED=1).")

# 3) The table, and each cell against the corrected one, question by question.
run python summarize_results.py "${CELLS[@]}" --out "$OUT/summary" "${NOTES[@]}"
