"""What is read off a causal LM of transformers 4.51 or 5.x, with or without a peft wrapper around it."""

import torch
import transformers

TRANSFORMERS_5 = int(transformers.__version__.split(".")[0]) >= 5
DTYPE_ARGUMENT = "dtype" if TRANSFORMERS_5 else "torch_dtype"


def bare(model):
    """Return the causal LM itself, without a peft wrapper."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def text_config(model):
    """Return the config of the language model, also inside a multimodal one."""
    return bare(model).config.get_text_config()


def embedding_table(model) -> torch.Tensor:
    """Return the input embeddings `[V, d]`."""
    return bare(model).get_input_embeddings().weight


def embed(model, ids: torch.Tensor) -> torch.Tensor:
    """Return the embeddings `[..., d]` of ids as the model itself makes them (Gemma 3 scales the table's rows)."""
    return bare(model).get_input_embeddings()(ids)


def embed_ids(model, ids) -> torch.Tensor:
    """Return the embeddings `[len(ids), d]` of a list of ids."""
    return embed(model, torch.tensor(list(ids), dtype=torch.long, device=embedding_table(model).device))


def is_tuned(model) -> bool:
    """Return whether any weight of the model is trained (LoRA)."""
    return any(p.requires_grad for p in model.parameters())
