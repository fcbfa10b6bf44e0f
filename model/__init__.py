"""Models: frozen backbones, soft thoughts, the frozen-LM loss, sampling. Knows nothing about text."""

import logging

# transformers 5 imports peft with `set_seed`, and peft imports bitsandbytes, which then misses a kernel for CPUs that
# no run here uses: `load_backbone` leaves it out, because it passes no gradient.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(lambda record: "gemm_4bit_forward" not in str(record.msg))
