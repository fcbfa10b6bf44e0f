#!/usr/bin/env bash
# SoftCoT++'s main table (arXiv 2505.11484): ten answers a question that vote, and a hundred with self-consistency.
# Qwen3's rows stand there twice: sampled at temperature and top_p 1.0, and at the model's own (--sampling).
#
#   bash tables/softcotpp.sh [BASE ASSISTANT ...]      default: the paper's Llama and Qwen3 pairs

source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
(($#)) || set -- "${LLAMA[@]}" Qwen/Qwen3-8B Qwen/Qwen3-0.6B
[[ " ${EVAL_OPTIONS[*]}" != *" --sampling"* ]] || refuse "--sampling in EVAL_OPTIONS: the table itself gives it"
[[ " ${TRAIN_OPTIONS[*]}" != *" --thought_filler"* ]] || refuse "--thought_filler in TRAIN_OPTIONS: SoftCoT takes one, SoftCoT++ ten"

train_task() { # SoftCoT's projection and SoftCoT++'s
    train softcot "$L_TRAIN"
    train softcotpp "$L_TRAIN" --num_scaling_times 10 --model_name scaling-nce
}
row() { # row METHOD FOLDER PROJECTION [OPTION...]
    evaluate "$1" "${sampling:+$sampling/}$2" 4 --params_file_name "$3" "${@:4}" ${sampling:+--sampling "$sampling"}
}
evaluate_task() {
    local softcot softcotpp sampling samplings=("")
    softcot=$(trained "$L_TRAIN")/projection.bin softcotpp=$(trained "$L_TRAIN-10" -nce)/projection.bin
    [[ ${BASE##*/} != Qwen3* ]] || samplings=(as_asked of_model)
    for sampling in "${samplings[@]}"; do
        # SoftCoT-SC: ten samples.
        row softcot softcot_sc "$softcot" --num_return_sequences 10
        # SoftCoT-P: SoftCoT's thoughts in ten chains, each with noise (the paper's size of it is not known).
        row softcotpp softcot_p "$softcot" --num_scaling_times 10 --perturb_std 0.1
        # SoftCoT++: ten chains, then ten samples of each.
        row softcotpp softcotpp "$softcotpp" --num_scaling_times 10 --model_name scaling-nce
        row softcotpp softcotpp_sc "$softcotpp" --num_scaling_times 10 --model_name scaling-nce \
            --num_return_sequences 10
    done
}
each_pair "$@"

# The table, beside the paper's figures.
summarize --methods SoftCoT-SC SoftCoT-P SoftCoT++ --compare SoftCoT++ SoftCoT-SC
