"""Result files in the format of lm-evaluation-harness: results_*.json and samples_<task>_*.jsonl, a pair a seed."""

import hashlib
import json
import os
from datetime import datetime
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

from experiment.results import json_line, read_result_file
from utils import UserError, replaced, write_json

FILTERS = {"published": ("vote", "correct"), "strict": ("vote_strict", "correct_strict")}  # our answer rules
NOT_KNOWN = (  # fields of lm-eval's file that a result file has no value for
    *("git_hash", "pretty_env_info", "transformers_version", "lm_eval_version", "upper_git_hash", "max_length"),
    *("tokenizer_pad_token", "tokenizer_eos_token", "tokenizer_bos_token", "eot_token_id", "fewshot_as_multiturn"),
    *("system_instruction", "system_instruction_sha", "chat_template", "chat_template_sha", "task_hashes"),
    "total_evaluation_time_seconds",
)


def write_harness_files(paths, folder: Path) -> None:
    """Write the pair of each result file into a folder of its name. Raises UserError: no file, or one without texts.

    paths: absolute; what their folders have in common is left out of the name.
    """
    if not paths:
        raise UserError("--lm_eval needs result files (.jsonl), and there are only logs")
    top = os.path.commonpath([path.parent for path in paths])
    for path in paths:
        record, rows = read_result_file(path)
        if not rows:
            continue  # stopped before its first answer
        if any("skipped" not in row and not {"input", "responses"} <= row.keys() for row in rows):
            raise UserError(f"{path} has no prompts or no responses: evaluate with --print_input --print_response")
        time, out = path.stat().st_mtime, folder / path.relative_to(top).with_suffix("")
        date = datetime.fromtimestamp(time).isoformat().replace(":", "-")
        samples = [make_sample(record, row, rule) for rule in FILTERS for row in rows]
        out.mkdir(parents=True, exist_ok=True)
        write_json(make_results(record, rows) | {"date": time}, out / f"results_{date}.json")
        with replaced(out / f"samples_{record['task_name']}_{date}.jsonl") as scratch:
            scratch.write_bytes(b"".join(map(json_line, samples)))


def make_sample(record, row, rule) -> dict:
    """Return a row as lm-eval writes one question under one filter."""
    vote, correct = FILTERS[rule]
    doc, target, prompt = {"index": row["index"], "gold": row["gold"]}, str(row["gold"]), row.get("input", "")
    asked = {name: record[name] for name in ("temperature", "top_p")}
    if record["sampling"] == "of_model":  # then 1.0 is the model's own value
        asked = {name: value for name, value in asked.items() if value != 1.0}
    sampling = asked | {"do_sample": not record["greedy"]}
    texts = {"doc": json.dumps(doc, indent=2, ensure_ascii=False), "prompt": prompt, "target": target}
    return {
        "doc_id": row["index"],
        "doc": doc,
        "target": target,
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": sampling | {"max_gen_toks": record["max_new_tokens"]}}},
        "resps": [row.get("responses", [])],
        "filtered_resps": ["[invalid]" if row[vote] is None else str(row[vote])],
        "filter": rule,
        "metrics": ["exact_match"],
        "exact_match": float(row[correct]),
        **{f"{part}_hash": hashlib.sha256(text.encode()).hexdigest() for part, text in texts.items()},
    }


def make_results(record, rows) -> dict:
    """Return the summary of a seed as lm-eval writes it."""
    task, model, scores = record["task_name"], record["base_model_id"], {}
    for rule, (_, correct) in FILTERS.items():
        values = [float(row[correct]) for row in rows]
        error = stdev(values) / sqrt(len(values)) if len(values) > 1 else "N/A"
        scores |= {f"exact_match,{rule}": mean(values), f"exact_match_stderr,{rule}": error}
    return dict.fromkeys(NOT_KNOWN) | {
        "results": {task: {"name": task, "alias": task, "sample_len": len(rows), **scores}},
        "group_subtasks": {},
        "configs": {task: {"task": task, "output_type": "generate_until"}},
        "versions": {task: record["version"]},
        "n-shot": {task: 0},
        "higher_is_better": {task: {"exact_match": True}},
        "n-samples": {task: {"original": record["questions_in_split"], "effective": len(rows)}},
        "config": {"model": "softcot", "model_args": record},
        "model_source": "softcot",
        "model_name": model,
        "model_name_sanitized": model.replace("/", "__"),
    }
