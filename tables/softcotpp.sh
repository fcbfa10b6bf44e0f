#!/usr/bin/env bash
# SoftCoT++'s main table (arXiv 2505.11484): ten answers a question that vote, and a hundred with self-consistency.
#
#   bash tables/softcotpp.sh [BASE ASSISTANT ...]      default: the paper's Llama and Qwen3 pairs

source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
(($#)) || set -- \
    meta-llama/Llama-3.1-8B-Instruct meta-llama/Llama-3.2-1B-Instruct \
    Qwen/Qwen3-8B Qwen/Qwen3-0.6B

while (($#)); do
    BASE=${1%/} ASSISTANT=${2%/}
    shift 2
    # 1) Train SoftCoT's projection (the same run as in softcot.sh) and SoftCoT++'s.
    for task in "${TRAINED[@]}"; do
        run python train_softcot.py --large_model_id "$BASE" --small_model_id "$ASSISTANT" --output_name "$NAME" \
            --batch_size 4 --task_name "$task" --num_thought_tokens "$L_TRAIN" --n_epochs "$N_EPOCHS" \
            --resume "${TRAIN_OPTIONS[@]}"
        run python train_softcotpp.py --large_model_id "$BASE" --small_model_id "$ASSISTANT" --output_name "$NAME" \
            --batch_size 4 --model_name scaling-nce --task_name "$task" --num_thought_tokens "$L_TRAIN" \
            --num_scaling_times 10 --n_epochs "$N_EPOCHS" --resume "${TRAIN_OPTIONS[@]}"
    done

    # 2) Evaluate each row of the table.
    for task in "${TASKS[@]}"; do
        trained=$(trained_on "$task")
        softcot=ckpt/$NAME-$trained-$N_EPOCHS.0-$L_TRAIN-${BASE##*/}-${ASSISTANT##*/}/projection.bin
        softcotpp=ckpt/$NAME-$trained-$N_EPOCHS.0-$L_TRAIN-10-${BASE##*/}-${ASSISTANT##*/}-nce/projection.bin

        # SoftCoT-SC: ten samples.
        run python evaluate_softcot.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
            --num_thought_tokens 4 --num_return_sequences 10 --params_file_name "$softcot" \
            --seed_from 41 --seed_to 45 --print_response --log_dir "$OUT/logs/$task/softcot_sc" "${EVAL_OPTIONS[@]}"
        # SoftCoT-P: SoftCoT's thoughts in ten chains, each with noise (the paper's size of it is not known).
        run python evaluate_softcotpp.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
            --num_thought_tokens 4 --num_scaling_times 10 --perturb_std 0.1 --params_file_name "$softcot" \
            --seed_from 41 --seed_to 45 --print_response --log_dir "$OUT/logs/$task/softcot_p" "${EVAL_OPTIONS[@]}"
        # SoftCoT++: ten chains.
        run python evaluate_softcotpp.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
            --num_thought_tokens 4 --num_scaling_times 10 --model_name scaling-nce --params_file_name "$softcotpp" \
            --seed_from 41 --seed_to 45 --print_response --log_dir "$OUT/logs/$task/softcotpp" "${EVAL_OPTIONS[@]}"
        # SoftCoT++ with self-consistency: ten samples of each of ten chains.
        run python evaluate_softcotpp.py --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
            --num_thought_tokens 4 --num_scaling_times 10 --model_name scaling-nce --params_file_name "$softcotpp" \
            --num_return_sequences 10 --seed_from 41 --seed_to 45 --print_response \
            --log_dir "$OUT/logs/$task/softcotpp_sc" "${EVAL_OPTIONS[@]}"
    done
done

# 3) The table, beside the paper's figures.
run python summarize_results.py "$OUT/logs" --out "$OUT/summary" --tasks "${TASKS[@]}" \
    --methods SoftCoT-SC SoftCoT-P SoftCoT++ --compare SoftCoT++ SoftCoT-SC
