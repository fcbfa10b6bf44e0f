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
TRAIN=(--large_model_id embedded/$SHORT --small_model_id embedded/$SHORT "${DATA[@]}" --output_name "$NAME" --resume)
EVAL=(--base_model_id embedded/$SHORT --assistant_model_id embedded/$SHORT "${DATA[@]}" --print_response
    --seed_from 41 --seed_to 43 --test_k 40 --max_new_tokens 120 --temperature 0.5)

# 1) Train SoftCoT, SoftCoT++ and the LoRA adapter: 200 steps must do what the papers' tens of thousands of 2e-5 do.
run python train_softcot.py "${TRAIN[@]}" --k_shot 800 --n_epochs 1 --batch_size 4 --learning_rate 4e-3 \
    --num_thought_tokens 16 "${TRAIN_OPTIONS[@]}"
run python train_softcotpp.py "${TRAIN[@]}" --k_shot 800 --n_epochs 1 --batch_size 4 --learning_rate 4e-3 \
    --num_thought_tokens 16 --num_scaling_times 2 --model_name scaling-nce "${TRAIN_OPTIONS[@]}"
run python train_softcot.py "${TRAIN[@]}" --k_shot 160 --n_epochs 1 --batch_size 4 --learning_rate 1e-3 \
    --num_thought_tokens 0 --tune_base_model "${TRAIN_OPTIONS[@]}"
softcot=ckpt/$NAME-gsm8k-1.0-16-$SHORT-$SHORT/projection.bin
softcotpp=ckpt/$NAME-gsm8k-1.0-16-2-$SHORT-$SHORT-nce/projection.bin
adapter=ckpt/$NAME-gsm8k-1.0-0-$SHORT-$SHORT/base_model

# 2) Evaluate the rows of SoftCoT's table.
run python evaluate_softcot.py "${EVAL[@]}" --num_thought_tokens 0 --log_dir "$OUT/logs/zero_shot" "${EVAL_OPTIONS[@]}"
run python evaluate_softcot.py "${EVAL[@]}" --num_thought_tokens 16 --thoughts placeholder \
    --log_dir "$OUT/logs/cot_unk" "${EVAL_OPTIONS[@]}"
run python evaluate_softcot.py "${EVAL[@]}" --num_thought_tokens 16 --thoughts assistant_text \
    --log_dir "$OUT/logs/assist_cot" "${EVAL_OPTIONS[@]}"
run python evaluate_softcot.py "${EVAL[@]}" --num_thought_tokens 0 --tune_base_model --base_model_ckpt "$adapter" \
    --log_dir "$OUT/logs/lora" "${EVAL_OPTIONS[@]}"
run python evaluate_softcot.py "${EVAL[@]}" --num_thought_tokens 16 --params_file_name "$softcot" \
    --log_dir "$OUT/logs/softcot" "${EVAL_OPTIONS[@]}"

# 3) Evaluate the rows of SoftCoT++'s table.
run python evaluate_softcot.py "${EVAL[@]}" --num_thought_tokens 16 --params_file_name "$softcot" \
    --num_return_sequences 2 --log_dir "$OUT/logs/softcot_sc" "${EVAL_OPTIONS[@]}"
run python evaluate_softcotpp.py "${EVAL[@]}" --num_thought_tokens 16 --params_file_name "$softcot" \
    --num_scaling_times 2 --perturb_std 0.1 --log_dir "$OUT/logs/softcot_p" "${EVAL_OPTIONS[@]}"
run python evaluate_softcotpp.py "${EVAL[@]}" --num_thought_tokens 16 --params_file_name "$softcotpp" \
    --num_scaling_times 2 --model_name scaling-nce --log_dir "$OUT/logs/softcotpp" "${EVAL_OPTIONS[@]}"
run python evaluate_softcotpp.py "${EVAL[@]}" --num_thought_tokens 16 --params_file_name "$softcotpp" \
    --num_scaling_times 2 --model_name scaling-nce --num_return_sequences 2 \
    --log_dir "$OUT/logs/softcotpp_sc" "${EVAL_OPTIONS[@]}"

# 4) Evaluate the controls.
run python evaluate_softcot.py "${EVAL[@]}" --num_thought_tokens 16 --thoughts zero \
    --log_dir "$OUT/logs/zero" "${EVAL_OPTIONS[@]}"
run python evaluate_softcot.py "${EVAL[@]}" --num_thought_tokens 16 --thoughts untrained \
    --log_dir "$OUT/logs/untrained" "${EVAL_OPTIONS[@]}"
run python evaluate_softcot.py "${EVAL[@]}" --num_thought_tokens 16 --thoughts shuffled --params_file_name "$softcot" \
    --log_dir "$OUT/logs/shuffled" "${EVAL_OPTIONS[@]}"

# 5) The table, and SoftCoT against the controls, question by question.
run python summarize_results.py "$OUT/logs" --out "$OUT/summary" --compare SoftCoT "Zero-Shot CoT" \
    --compare SoftCoT "Zero vectors" --compare SoftCoT "Untrained projection" --compare SoftCoT "Shuffled thoughts" \
    --compare SoftCoT++ SoftCoT
