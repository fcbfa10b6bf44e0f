#!/usr/bin/env bash
# SoftCoT's accuracy against the number of thought tokens in evaluation, with one projection a task.
#
#   bash tables/sweep_thought_tokens.sh [BASE ASSISTANT ...]      default: the papers' Llama pair

source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
(($#)) || set -- "${LLAMA[@]}"

evaluate_task() {
    for length in 1 2 4 8 16 32; do
        evaluate softcot "" "$length" --params_file_name "$(trained "$L_TRAIN")/projection.bin"
    done
}
each_pair "$@"

# The table and the curve, accuracy_by_thought_tokens.png.
summarize
