#!/usr/bin/env bash
# SoftCoT's main table (arXiv 2502.12134): zero-shot CoT, CoT-Unk, Assist-CoT, LoRA and SoftCoT on five tasks.
#
#   bash tables/softcot.sh [BASE ASSISTANT ...]      default: the paper's Llama and Qwen2.5 pairs

source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
(($#)) || set -- \
    meta-llama/Llama-3.1-8B-Instruct meta-llama/Llama-3.2-1B-Instruct \
    Qwen/Qwen2.5-7B-Instruct Qwen/Qwen2.5-1.5B-Instruct

while (($#)); do
    BASE=${1%/} ASSISTANT=${2%/}
    shift 2
    # 1) Train the projection, and the LoRA adapter alone (no thought tokens).
    for task in "${TRAINED[@]}"; do
        run python train_softcot.py --large_model_id "$BASE" --small_model_id "$ASSISTANT" --output_name "$NAME" \
            --batch_size 4 --task_name "$task" --num_thought_tokens "$L_TRAIN" --n_epochs "$N_EPOCHS" \
            --resume "${TRAIN_OPTIONS[@]}"
        run python train_softcot.py --large_model_id "$BASE" --small_model_id "$ASSISTANT" --output_name "$NAME" \
            --batch_size 4 --task_name "$task" --num_thought_tokens 0 --n_epochs "$N_EPOCHS" \
            --resume --tune_base_model "${TRAIN_OPTIONS[@]}"
    done

    # 2) Evaluate each row of the table.
    for task in "${TASKS[@]}"; do
        trained=$(trained_on "$task")
        projection=ckpt/$NAME-$trained-$N_EPOCHS.0-$L_TRAIN-${BASE##*/}-${ASSISTANT##*/}/projection.bin
        adapter=ckpt/$NAME-$trained-$N_EPOCHS.0-0-${BASE##*/}-${ASSISTANT##*/}/base_model

        # Zero-Shot CoT: no thought tokens.
        run python evaluate_softcot.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
            --num_thought_tokens 0 --seed_from 41 --seed_to 45 --print_response \
            --log_dir "$OUT/logs/$task/zero_shot" "${EVAL_OPTIONS[@]}"
        # CoT-Unk: the placeholders' own embeddings.
        run python evaluate_softcot.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
            --num_thought_tokens 4 --thoughts placeholder --seed_from 41 --seed_to 45 --print_response \
            --log_dir "$OUT/logs/$task/cot_unk" "${EVAL_OPTIONS[@]}"
        # Assist-CoT: text of the assistant.
        run python evaluate_softcot.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
            --num_thought_tokens 4 --thoughts assistant_text --seed_from 41 --seed_to 45 --print_response \
            --log_dir "$OUT/logs/$task/assist_cot" "${EVAL_OPTIONS[@]}"
        # LoRA: the adapter, no thought tokens.
        run python evaluate_softcot.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
            --num_thought_tokens 0 --tune_base_model --base_model_ckpt "$adapter" --seed_from 41 --seed_to 45 \
            --print_response --log_dir "$OUT/logs/$task/lora" "${EVAL_OPTIONS[@]}"
        # SoftCoT.
        run python evaluate_softcot.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
            --num_thought_tokens 4 --params_file_name "$projection" --seed_from 41 --seed_to 45 --print_response \
            --log_dir "$OUT/logs/$task/softcot" "${EVAL_OPTIONS[@]}"
    done
done

# 3) The table, beside the paper's figures.
run python summarize_results.py "$OUT/logs" --out "$OUT/summary" --tasks "${TASKS[@]}" \
    --methods "Zero-Shot CoT" CoT-Unk Assist-CoT LoRA SoftCoT
