#!/usr/bin/env bash
# The published protocol, and each of its switches alone, against the corrected protocol: about two hours on a CPU core.
#
#   bash tables/switches.sh [BASE ASSISTANT]      default: the embedded model in both roles
#
# On gsm8k, by default data/mini with its own prompts; each seed has its own training, and greedy evaluation.
# (TASKS has no effect here; N_EPOCHS is 1 and L_TRAIN 16 by default.) More environment variables:
#   SEEDS           of the trainings, each with the evaluation of the same seed (default: "42 43 44")
#   SOFTCOTPP=1     SoftCoT++ (N = 2, scaling-nce) instead, with the switch that it alone has: --token_loss_pairs
#   TUNED=1         SoftCoT with a tuned base model instead, and the switch that needs one: --base_adapter
# Each of these has its own OUT by default: results/switches_softcotpp, results/switches_tuned.
# TRAIN_OPTIONS and EVAL_OPTIONS come last, so that they override the sizes below.

KIND=
[[ ${SOFTCOTPP:-} != 1 ]] || KIND=_softcotpp
[[ ${TUNED:-} != 1 ]] || KIND+=_tuned
NAME=${NAME:-switches${KIND/_softcotpp/}} OUT=${OUT:-results/switches$KIND} N_EPOCHS=${N_EPOCHS:-1} L_TRAIN=${L_TRAIN:-16}
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
(($#)) || set -- embedded/SmolLM2-135M-Instruct embedded/SmolLM2-135M-Instruct
(($# == 2)) || refuse "$# models: give one pair, a base model and its assistant"
[[ $KIND != _softcotpp_tuned ]] || refuse "SOFTCOTPP=1 and TUNED=1: set one"
[[ " ${TRAIN_OPTIONS[*]} ${EVAL_OPTIONS[*]}" != *" --seed"* ]] || refuse "TRAIN_OPTIONS and EVAL_OPTIONS take no seed: set SEEDS"
BASE=${1%/} ASSISTANT=${2%/} METHOD=softcot OF_METHOD=()
case $KIND in # PLAN: where a switch is turned (training, evaluation or both), its name, its value
_tuned) OF_METHOD=(--tune_base_model) PLAN=("evaluation base_adapter ignored") ;;
_softcotpp)
    METHOD=softcotpp OF_METHOD=(--num_scaling_times 2 --model_name scaling-nce)
    PLAN=("training token_loss_pairs small_base" "training token_loss_pairs yes") # yes: whatever the size
    ;;
*)
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
read -r -d '' -a SEEDS <<<"${SEEDS:-42 43 44}" || true
SHARED=(--data_dir "$ROOT/data/mini" --prompt_dir "$ROOT/data/mini/prompts" --dtype float32 --num_thought_tokens "$L_TRAIN"
    "${OF_METHOD[@]}")

train() { # train RUN SEED [OPTION...]
    run python "train_$METHOD.py" --large_model_id "$BASE" --small_model_id "$ASSISTANT" --n_epochs "$N_EPOCHS" \
        --k_shot 400 --batch_size 4 --learning_rate 4e-3 --resume "${SHARED[@]}" --output_name "$NAME-$1-$2" --seed "$2" \
        "${@:3}" "${TRAIN_OPTIONS[@]}"
}
evaluate() { # evaluate RUN SEED TRAINED [OPTION...]: with the projection of the run TRAINED
    local length=$L_TRAIN end='' adapter=() folder
    [[ $METHOD == softcot ]] || length=$L_TRAIN-2 end=-nce
    folder=ckpt/$NAME-$3-$2-gsm8k-$N_EPOCHS.0-$length-${BASE##*/}-${ASSISTANT##*/}$end
    [[ $KIND != _tuned ]] || adapter=(--base_model_ckpt "$folder/base_model")
    # The engine is no switch: greedy, the reference engine gives the same responses, one question at a time.
    run python "evaluate_$METHOD.py" --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --engine transformers \
        --greedy --max_new_tokens 120 --eval_batch_size 200 --print_response "${SHARED[@]}" --seed "$2" \
        --params_file_name "$folder/projection.bin" --log_dir "$OUT/logs/$1" "${adapter[@]}" "${@:4}" "${EVAL_OPTIONS[@]}"
}

# 1) The two protocols; with a tuned model the corrected one.
CELLS=("$OUT/logs/corrected")
[[ $KIND == _tuned ]] || CELLS+=("$OUT/logs/published")
for seed in "${SEEDS[@]}"; do
    train corrected "$seed"
    evaluate corrected "$seed" corrected
    [[ $KIND != _tuned ]] || continue
    train published "$seed" --protocol published
    evaluate published "$seed" published --protocol published
done

# 2) Each switch alone.
for entry in "${PLAN[@]}"; do
    read -r where switch value <<<"$entry"
    name=$switch-$value trained=corrected turned=()
    [[ $where == evaluation ]] || trained=$name
    [[ $where == training ]] || turned=("--$switch" "$value")
    for seed in "${SEEDS[@]}"; do
        [[ $where == evaluation ]] || train "$name" "$seed" "--$switch" "$value"
        evaluate "$name" "$seed" "$trained" "${turned[@]}"
    done
    CELLS+=("$OUT/logs/$name")
done

# 3) The table, and each cell against the corrected one, question by question.
run python summarize_results.py "${CELLS[@]}" --out "$OUT/summary"
