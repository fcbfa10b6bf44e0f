#!/usr/bin/env bash
# Controls, in neither paper: what else than soft thoughts of the question gives the same accuracy?
#
#   bash tables/controls.sh [BASE ASSISTANT ...]      default: the papers' Llama pair

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

    # 2) Evaluate.
    for task in "${TASKS[@]}"; do
        trained=$(trained_on "$task")
        projection=ckpt/$NAME-$trained-$N_EPOCHS.0-$L_TRAIN-${BASE##*/}-${ASSISTANT##*/}/projection.bin

        # No slot: zero-shot CoT.
        run python evaluate_softcot.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
            --num_thought_tokens 0 --seed_from 41 --seed_to 45 --print_response \
            --log_dir "$OUT/logs/$task/zero_shot" "${EVAL_OPTIONS[@]}"
        # A slot that says nothing: the placeholders' own embeddings (CoT-Unk), zero vectors.
        run python evaluate_softcot.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
            --num_thought_tokens 4 --thoughts placeholder --seed_from 41 --seed_to 45 --print_response \
            --log_dir "$OUT/logs/$task/placeholder" "${EVAL_OPTIONS[@]}"
        run python evaluate_softcot.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
            --num_thought_tokens 4 --thoughts zero --seed_from 41 --seed_to 45 --print_response \
            --log_dir "$OUT/logs/$task/zero" "${EVAL_OPTIONS[@]}"
        # The projection before training.
        run python evaluate_softcot.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
            --num_thought_tokens 4 --thoughts untrained --seed_from 41 --seed_to 45 --print_response \
            --log_dir "$OUT/logs/$task/untrained" "${EVAL_OPTIONS[@]}"
        # Soft thoughts of the next question.
        run python evaluate_softcot.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
            --num_thought_tokens 4 --thoughts shuffled --params_file_name "$projection" --seed_from 41 --seed_to 45 \
            --print_response --log_dir "$OUT/logs/$task/shuffled" "${EVAL_OPTIONS[@]}"
        # SoftCoT.
        run python evaluate_softcot.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
            --num_thought_tokens 4 --params_file_name "$projection" --seed_from 41 --seed_to 45 --print_response \
            --log_dir "$OUT/logs/$task/softcot" "${EVAL_OPTIONS[@]}"
    done
done

# 3) The table, and SoftCoT against each control, question by question.
run python summarize_results.py "$OUT/logs" --out "$OUT/summary" --tasks "${TASKS[@]}" \
    --methods "Zero-Shot CoT" CoT-Unk "Zero vectors" "Untrained projection" "Shuffled thoughts" SoftCoT \
    --compare SoftCoT "Zero-Shot CoT" --compare SoftCoT CoT-Unk --compare SoftCoT "Zero vectors" \
    --compare SoftCoT "Untrained projection" --compare SoftCoT "Shuffled thoughts"
