#!/usr/bin/env bash
# What do the thoughts carry? SoftCoT against controls, with the question visible to the base model, and hidden from it.
#
#   bash tables/information.sh [BASE ASSISTANT]      default: the embedded model in both roles, minutes on a CPU
#
# On data/mini. If the question is hidden, only the assistant's prompt has it (data/mini/prompts_hidden): what is then
# answered can only have come through the thought slot. Each of the two prompts has its own training, evaluation is
# greedy, and each has its own summary. (TASKS has no effect here; N_EPOCHS is 1 and L_TRAIN 16 by default.)
# TRAIN_OPTIONS and EVAL_OPTIONS come last, so that they override the sizes below.

NAME=${NAME:-information} N_EPOCHS=${N_EPOCHS:-1} L_TRAIN=${L_TRAIN:-16}
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
(($#)) || set -- embedded/SmolLM2-135M-Instruct embedded/SmolLM2-135M-Instruct
(($# == 2)) || refuse "$# models: give one pair, a base model and its assistant"
BASE=${1%/} ASSISTANT=${2%/}
declare -A PROMPTS=([visible]=$ROOT/data/mini/prompts [hidden]=$ROOT/data/mini/prompts_hidden)

for question in visible hidden; do
    shared=(--data_dir "$ROOT/data/mini" --prompt_dir "${PROMPTS[$question]}" --num_thought_tokens "$L_TRAIN")
    # 1) Train the projection: 200 steps must do what the papers' tens of thousands of 2e-5 do.
    run python train_softcot.py --large_model_id "$BASE" --small_model_id "$ASSISTANT" "${shared[@]}" \
        --output_name "$NAME-$question" --n_epochs "$N_EPOCHS" --k_shot 800 --dev_k 32 --batch_size 4 \
        --learning_rate 4e-3 --resume "${TRAIN_OPTIONS[@]}"
    projection=ckpt/$NAME-$question-gsm8k-$N_EPOCHS.0-$L_TRAIN-${BASE##*/}-${ASSISTANT##*/}/projection.bin

    # 2) Evaluate what the slot may hold: soft thoughts of the question, of the next one, untrained ones, zero vectors.
    for thoughts in projected shuffled untrained zero; do
        run python evaluate_softcot.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" "${shared[@]}" \
            --params_file_name "$projection" --thoughts "$thoughts" --greedy --seed 42 --max_new_tokens 120 \
            --eval_batch_size 100 --print_response --log_dir "$OUT/logs/$question" "${EVAL_OPTIONS[@]}"
    done

    # 3) The table, and SoftCoT against each control, question by question.
    run python summarize_results.py "$OUT/logs/$question" --out "$OUT/summary/$question" \
        --compare SoftCoT "Shuffled thoughts" --compare SoftCoT "Untrained projection" --compare SoftCoT "Zero vectors"
done
