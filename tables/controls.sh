#!/usr/bin/env bash
# Controls, in neither paper: what else than soft thoughts of the question gives the same accuracy?
#
#   bash tables/controls.sh [BASE ASSISTANT ...]      default: the papers' Llama pair

source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
(($#)) || set -- "${LLAMA[@]}"

train_task() {
    train softcot "$L_TRAIN"
    without_levers train softcot 4 --thoughts learned --learning_rate 1e-3 # as many vectors as evaluation takes
}
evaluate_task() {
    local projection
    projection=$(trained "$L_TRAIN")/projection.bin
    # No slot: zero-shot CoT.
    evaluate softcot zero_shot 0
    # A slot that says nothing: the placeholders' own embeddings (CoT-Unk), zero vectors.
    evaluate softcot placeholder 4 --thoughts placeholder
    evaluate softcot zero 4 --thoughts zero
    # The projection before training.
    evaluate softcot untrained 4 --thoughts untrained
    # Soft thoughts of the next question.
    evaluate softcot shuffled 4 --thoughts shuffled --params_file_name "$projection"
    # The same thoughts for every question: their mean over the training set.
    evaluate softcot mean 4 --thoughts mean --params_file_name "$projection"
    # Free vectors in the slot, trained with the same loss and steps.
    evaluate softcot learned 4 --thoughts learned --params_file_name "$(trained 4 -learned)/projection.bin"
    evaluate softcot softcot 4 --params_file_name "$projection"
}
each_pair "$@"

# The table, and SoftCoT against each control, question by question.
summarize --methods "Zero-Shot CoT" CoT-Unk "Zero vectors" "Untrained projection" "Shuffled thoughts" \
    "Mean thoughts" "Learned vectors" SoftCoT \
    --compare SoftCoT "Zero-Shot CoT" --compare SoftCoT CoT-Unk --compare SoftCoT "Zero vectors" \
    --compare SoftCoT "Untrained projection" --compare SoftCoT "Shuffled thoughts" \
    --compare SoftCoT "Mean thoughts" --compare SoftCoT "Learned vectors"
