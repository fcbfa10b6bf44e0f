"""What can be chosen of a model, by name. Help shows it without importing torch."""

EMBEDDED = "embedded/SmolLM2-135M-Instruct"
EMBEDDED_REPO = "HuggingFaceTB/SmolLM2-135M-Instruct"  # the same model on the Hub
DTYPES = ("bfloat16", "float16", "float32")
DEVICE_MAPS = ("auto", "balanced", "sequential")
QUANTIZATION = ("8bit", "4bit")
