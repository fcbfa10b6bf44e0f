"""What can be chosen of a model and of its thought slot, by name. Help shows it without importing torch."""

EMBEDDED = "embedded/SmolLM2-135M-Instruct"
EMBEDDED_REPO = "HuggingFaceTB/SmolLM2-135M-Instruct"  # the same model on the Hub
DTYPES = ("bfloat16", "float16", "float32")
DEVICE_MAPS = ("auto", "balanced", "sequential")
QUANTIZATION = ("8bit", "4bit")
# Mode -> what fills the thought slot, as help shows it.
THOUGHTS = {
    "projected": "soft thoughts through the trained projection",
    "shuffled": "those of the next question of the split (after the last, the first)",
    "untrained": "soft thoughts through the projection that training starts from",
    "zero": "zero vectors",
    "placeholder": "the base model's own placeholder embeddings (CoT-Unk)",
    "assistant_text": "up to L tokens of text that the assistant writes greedily (Assist-CoT)",
}
SOFT = ("projected", "shuffled", "untrained")  # modes with thought states and a projection
FROM_FILE = ("projected", "shuffled")  # modes that read a projection.bin
WITH_ASSISTANT = (*SOFT, "assistant_text")
