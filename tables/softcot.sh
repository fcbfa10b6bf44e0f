#!/usr/bin/env bash
# SoftCoT's main table (arXiv 2502.12134): zero-shot CoT, CoT-Unk, Assist-CoT, LoRA and SoftCoT on five tasks. One more row,
# in neither paper: SoftCoT whose assistant's placeholders are filled with a newline.
#
#   bash tables/softcot.sh [BASE ASSISTANT ...]      default: the paper's Llama and Qwen2.5 pairs

source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
(($#)) || set -- "${LLAMA[@]}" Qwen/Qwen2.5-7B-Instruct Qwen/Qwen2.5-1.5B-Instruct

train_task() { # the projection, the same with newlines, and the LoRA adapter alone (no thought tokens)
    train softcot "$L_TRAIN"
    NAME=$NAME-newline without_levers train softcot "$L_TRAIN" --thought_filler '\n'
    without_levers train softcot 0 --tune_base_model
}
evaluate_task() {
    evaluate softcot zero_shot 0
    evaluate softcot cot_unk 4 --thoughts placeholder       # their own embeddings
    evaluate softcot assist_cot 4 --thoughts assistant_text # text of the assistant
    evaluate softcot lora 0 --tune_base_model --base_model_ckpt "$(trained 0)/base_model"
    evaluate softcot softcot 4 --params_file_name "$(trained "$L_TRAIN")/projection.bin"
    evaluate softcot newline 4 --params_file_name "$(NAME=$NAME-newline trained "$L_TRAIN")/projection.bin"
}
each_pair "$@"

# The table, beside the paper's figures.
summarize --methods "Zero-Shot CoT" CoT-Unk Assist-CoT LoRA SoftCoT
