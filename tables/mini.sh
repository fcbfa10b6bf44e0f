#!/usr/bin/env bash
# Every row and control of the other tables on the embedded model and data/mini.
#
#   bash tables/mini.sh      (OUT and PYTHON are relative to the repository's folder)
#
# TASKS, N_EPOCHS and L_TRAIN have no effect here. Levers in TRAIN_OPTIONS reach SoftCoT's own training alone, and none
# of TRAIN_OPTIONS changes the learning rate of learned vectors and of LoRA or LoRA's number of examples.

NAME=${NAME:-mini} N_EPOCHS=1 L_TRAIN=16
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
((! $#)) || refuse "mini.sh takes no models: it is for the embedded one"
cd "$ROOT" # data/mini is there
BASE=embedded/SmolLM2-135M-Instruct ASSISTANT=$BASE task=gsm8k
DATA=(--data_dir data/mini --prompt_dir data/mini/prompts)
TRAIN_OPTIONS=("${DATA[@]}" --k_shot 800 --learning_rate 4e-3 "${TRAIN_OPTIONS[@]}")
EVAL_OPTIONS=("${DATA[@]}" --seed_to 43 --test_k 40 --max_new_tokens 120 --temperature 0.5 "${EVAL_OPTIONS[@]}")

# 1) Train SoftCoT (also with newlines), SoftCoT++, learned vectors and the LoRA adapter: few steps must do what tens of
# thousands of 2e-5 do.
train softcot 16
NAME=$NAME-newline without_levers train softcot 16 --thought_filler '\n'
without_levers train softcotpp 16 --num_scaling_times 2 --model_name scaling-nce
without_levers train softcot 16 --thoughts learned --learning_rate 1e-2
without_levers train softcot 0 --tune_base_model --k_shot 160 --learning_rate 1e-3
softcot=(--params_file_name "$(trained 16)/projection.bin")
newline=(--params_file_name "$(NAME=$NAME-newline trained 16)/projection.bin")
softcotpp=(--params_file_name "$(trained 16-2 -nce)/projection.bin" --num_scaling_times 2 --model_name scaling-nce)

# 2) Evaluate the rows of SoftCoT's table, of SoftCoT++'s, and the controls.
evaluate softcot zero_shot 0
evaluate softcot cot_unk 16 --thoughts placeholder
evaluate softcot assist_cot 16 --thoughts assistant_text
evaluate softcot lora 0 --tune_base_model --base_model_ckpt "$(trained 0)/base_model"
evaluate softcot softcot 16 "${softcot[@]}"
evaluate softcot newline 16 "${newline[@]}"
evaluate softcot softcot_sc 16 "${softcot[@]}" --num_return_sequences 2
evaluate softcotpp softcot_p 16 "${softcot[@]}" --num_scaling_times 2 --perturb_std 0.1
evaluate softcotpp softcotpp 16 "${softcotpp[@]}"
evaluate softcotpp softcotpp_sc 16 "${softcotpp[@]}" --num_return_sequences 2
evaluate softcot zero 16 --thoughts zero
evaluate softcot untrained 16 --thoughts untrained
evaluate softcot shuffled 16 --thoughts shuffled "${softcot[@]}"
evaluate softcot mean 16 --thoughts mean "${softcot[@]}"
evaluate softcot learned 16 --thoughts learned --params_file_name "$(trained 16 -learned)/projection.bin"

# 3) The table, and SoftCoT against the controls, question by question.
run python summarize_results.py "$OUT/logs" --out "$OUT/summary" --compare SoftCoT "Zero-Shot CoT" \
    --compare SoftCoT "Zero vectors" --compare SoftCoT "Untrained projection" --compare SoftCoT "Shuffled thoughts" \
    --compare SoftCoT "Mean thoughts" --compare SoftCoT "Learned vectors" --compare SoftCoT++ SoftCoT
