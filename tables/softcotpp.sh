#!/usr/bin/env bash
# SoftCoT++'s main table (arXiv 2505.11484): ten answers a question that vote, and a hundred with self-consistency.
# Qwen3's rows stand there twice: sampled at temperature and top_p 1.0, and at the model's own (--sampling).
#
#   bash tables/softcotpp.sh [BASE ASSISTANT ...]      default: the paper's Llama and Qwen3 pairs

source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
(($#)) || set -- \
    meta-llama/Llama-3.1-8B-Instruct meta-llama/Llama-3.2-1B-Instruct \
    Qwen/Qwen3-8B Qwen/Qwen3-0.6B
[[ " ${EVAL_OPTIONS[*]}" != *" --sampling"* ]] || refuse "--sampling in EVAL_OPTIONS: the table itself gives it"

evaluate() { # evaluate METHOD FOLDER PROJECTION [OPTION...]: a row of the table
    run python "evaluate_$1.py" --base_model_id "$BASE" --assistant_model_id "$ASSISTANT" --task_name "$task" \
        --num_thought_tokens 4 --params_file_name "$3" "${@:4}" ${sampling:+--sampling "$sampling"} \
        --seed_from 41 --seed_to 45 --print_response --log_dir "$OUT/logs/$task${sampling:+/$sampling}/$2" \
        "${EVAL_OPTIONS[@]}"
}

while (($#)); do
    BASE=${1%/} ASSISTANT=${2%/} SAMPLINGS=("")
    shift 2
    [[ ${BASE##*/} != Qwen3* ]] || SAMPLINGS=(as_asked of_model)
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

        for sampling in "${SAMPLINGS[@]}"; do
            # SoftCoT-SC: ten samples.
            evaluate softcot softcot_sc "$softcot" --num_return_sequences 10
            # SoftCoT-P: SoftCoT's thoughts in ten chains, each with noise (the paper's size of it is not known).
            evaluate softcotpp softcot_p "$softcot" --num_scaling_times 10 --perturb_std 0.1
            # SoftCoT++: ten chains.
            evaluate softcotpp softcotpp "$softcotpp" --num_scaling_times 10 --model_name scaling-nce
            # SoftCoT++ with self-consistency: ten samples of each of ten chains.
            evaluate softcotpp softcotpp_sc "$softcotpp" --num_scaling_times 10 --model_name scaling-nce \
                --num_return_sequences 10
        done
    done
done

# 3) The table, beside the paper's figures.
run python summarize_results.py "$OUT/logs" --out "$OUT/summary" --tasks "${TASKS[@]}" \
    --methods SoftCoT-SC SoftCoT-P SoftCoT++ --compare SoftCoT++ SoftCoT-SC
