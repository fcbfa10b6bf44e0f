#!/usr/bin/env bash
# SoftCoT's accuracy against the number of thought tokens in evaluation, with one projection a task.
#
#   bash tables/sweep_thought_tokens.sh [BASE ASSISTANT ...]      default: the papers' Llama pair

source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
(($#)) || set -- meta-llama/Llama-3.1-8B-Instruct meta-llama/Llama-3.2-1B-Instruct

while (($#)); do
    BASE=${1%/} ASSISTANT=${2%/}
    shift 2
    # 1) Train the projection (the same run as in softcot.sh).
    for task in "${TRAINED[@]}"; do
        run python train_softcot.py --large_model_id "$BASE" --small_model_id "$ASSISTANT" --output_name "$NAME" \
            --batch_size 4 --task_name "$task" --num_thought_tokens "$L_TRAIN" --n_epochs "$N_EPOCHS" \
            --resume "${TRAIN_OPTIONS[@]}"
    done

    # 2) Evaluate it with each L.
    for task in "${TASKS[@]}"; do
        trained=$(trained_on "$task")
        projection=ckpt/$NAME-$trained-$N_EPOCHS.0-$L_TRAIN-${BASE##*/}-${ASSISTANT##*/}/projection.bin

        for length in 1 2 4 8 16 32; do
            run python evaluate_softcot.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" \
                --task_name "$task" --num_thought_tokens "$length" --params_file_name "$projection" \
                --seed_from 41 --seed_to 45 --print_response --log_dir "$OUT/logs/$task" "${EVAL_OPTIONS[@]}"
        done
    done
done

# 3) The table and the curve, accuracy_by_thought_tokens.png.
run python summarize_results.py "$OUT/logs" --out "$OUT/summary" --tasks "${TASKS[@]}"
