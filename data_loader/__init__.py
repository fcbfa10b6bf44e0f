"""Text and token ids: tasks, examples, prompts, answers, batches.

Knows nothing of weights: nothing here imports `model`, and `model` imports nothing from here.
"""
