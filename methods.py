"""What an evaluation is called in the papers' tables, by its arguments. Needs no model and no torch."""

OF_THOUGHTS = {
    "placeholder": "CoT-Unk",
    "assistant_text": "Assist-CoT",
    "zero": "Zero vectors",
    "shuffled": "Shuffled thoughts",
    "untrained": "Untrained projection",
}
# In the tables' order.
METHODS = (
    "Zero-Shot CoT",
    "CoT-Unk",
    "Assist-CoT",
    "LoRA",
    "Zero vectors",
    "Untrained projection",
    "Shuffled thoughts",
    "SoftCoT",
    "SoftCoT + LoRA",
    "SoftCoT-SC",
    "SoftCoT-SC + LoRA",
    "SoftCoT-P",
    "SoftCoT-P + LoRA",
    "SoftCoT++",
    "SoftCoT++ + LoRA",
    "SoftCoT++-P",
    "SoftCoT++-P + LoRA",
)


def method_of(settings: dict) -> str:
    """One of METHODS. settings: the `run` record of a result file. Raises ValueError for unknown thoughts."""
    tuned = any(
        settings.get(key)
        for key in ("tune_base_model", "base_model_ckpt", "tune_assistant_model", "assistant_model_ckpt")
    )
    if not settings["num_thought_tokens"]:
        return "LoRA" if tuned else "Zero-Shot CoT"
    if settings["thoughts"] != "projected":
        name = OF_THOUGHTS.get(settings["thoughts"])
        if not name:
            raise ValueError(
                f"unknown thoughts {settings['thoughts']!r} in a result file's record: known are "
                f"projected, {', '.join(OF_THOUGHTS)}"
            )
        return name
    if settings["perturb_std"]:
        name = "SoftCoT++-P" if settings.get("own_chains") else "SoftCoT-P"
    elif settings.get("num_scaling_times"):
        name = "SoftCoT++"
    else:
        name = "SoftCoT-SC" if settings["num_return_sequences"] > 1 else "SoftCoT"
    return name + (" + LoRA" if tuned else "")
