#!/usr/bin/env bash
# Every row and control of the other tables on the embedded model and data/mini: minutes on a CPU.
#
#   bash tables/mini.sh      (TASKS, N_EPOCHS and L_TRAIN have no effect here)

NAME=${NAME:-mini}
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
((! $#)) || refuse "mini.sh takes no models: it is for the embedded one"
cd "$ROOT" # data/mini is there
SHORT=SmolLM2-135M-Instruct
DATA=(--data_dir data/mini --prompt_dir data/mini/prompts)

train() { # train METHOD EXAMPLES LEARNING_RATE L [OPTION...]
    run python "train_$1.py" --large_model_id embedded/$SHORT --small_model_id embedded/$SHORT "${DATA[@]}" \
        --output_name "$NAME" --resume --k_shot "$2" --n_epochs 1 --batch_size 4 --learning_rate "$3" \
        --num_thought_tokens "$4" "${@:5}" "${TRAIN_OPTIONS[@]}"
}
evaluate() { # evaluate METHOD FOLDER L [OPTION...]
    run python "evaluate_$1.py" --base_model_id embedded/$SHORT --assistant_model_id embedded/$SHORT "${DATA[@]}" \
        --print_response --seed_from 41 --seed_to 43 --test_k 40 --max_new_tokens 120 --temperature 0.5 \
        --num_thought_tokens "$3" "${@:4}" --log_dir "$OUT/logs/$2" "${EVAL_OPTIONS[@]}"
}

# 1) Train SoftCoT (also with newlines), SoftCoT++, learned vectors and the LoRA adapter: few steps must do what tens of thousands of 2e-5 do.
train softcot 800 4e-3 16
NAME=$NAME-newline without_levers train softcot 800 4e-3 16 --thought_filler '\n'
train softcotpp 800 4e-3 16 --num_scaling_times 2 --model_name scaling-nce
without_levers train softcot 800 1e-2 16 --thoughts learned
without_levers train softcot 160 1e-3 0 --tune_base_model
softcot=(--params_file_name "ckpt/$NAME-gsm8k-1.0-16-$SHORT-$SHORT/projection.bin")
newline=(--params_file_name "ckpt/$NAME-newline-gsm8k-1.0-16-$SHORT-$SHORT/projection.bin")
softcotpp=(--params_file_name "ckpt/$NAME-gsm8k-1.0-16-2-$SHORT-$SHORT-nce/projection.bin"
    --num_scaling_times 2 --model_name scaling-nce)

# 2) Evaluate the rows of SoftCoT's table, of SoftCoT++'s, and the controls.
evaluate softcot zero_shot 0
evaluate softcot cot_unk 16 --thoughts placeholder
evaluate softcot assist_cot 16 --thoughts assistant_text
evaluate softcot lora 0 --tune_base_model --base_model_ckpt "ckpt/$NAME-gsm8k-1.0-0-$SHORT-$SHORT/base_model"
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
evaluate softcot learned 16 --thoughts learned \
    --params_file_name "ckpt/$NAME-gsm8k-1.0-16-$SHORT-$SHORT-learned/projection.bin"

# 3) The table, and SoftCoT against the controls, question by question.
run python summarize_results.py "$OUT/logs" --out "$OUT/summary" --compare SoftCoT "Zero-Shot CoT" \
    --compare SoftCoT "Zero vectors" --compare SoftCoT "Untrained projection" --compare SoftCoT "Shuffled thoughts" \
    --compare SoftCoT "Mean thoughts" --compare SoftCoT "Learned vectors" --compare SoftCoT++ SoftCoT
