"""Models: frozen backbones, soft thoughts, the frozen-LM loss, sampling. Knows nothing about text."""
