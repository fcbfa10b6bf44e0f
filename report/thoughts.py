"""What the soft thoughts of one question look like to the base model: nearest tokens, norms, similarity of chains.

Cosines and norms describe vectors, not what they do.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from model.causal_lm import embed_ids, embedding_table
from report.plots import save_figure


@torch.no_grad()
def measure_thoughts(base, soft, top: int) -> dict:
    """Return what is shown of soft thoughts `[N, L, d_b]`, as plain numbers.

    thoughts: of each its chain, position, norm and `top` nearest tokens with their cosines; median_norm: of the base
    model's embeddings; similarity: cosines between all chains, of one chain between all positions.
    """
    chains, length, _ = soft.shape
    table = embed_ids(base.model, range(min(len(base.tokenizer), len(embedding_table(base.model))))).float()
    norms, vectors = table.norm(dim=-1).clamp_min(1e-12), soft.flatten(0, 1)
    found = (F.normalize(vectors, dim=-1) @ table.T / norms).topk(top)
    thoughts = [
        {
            "chain": place // length,
            "position": place % length,
            "norm": vector.norm().item(),
            "nearest": [(base.tokenizer.decode([token]), cosine) for token, cosine in zip(ids, cosines, strict=True)],
        }
        for place, (vector, ids, cosines) in enumerate(
            zip(vectors, found.indices.tolist(), found.values.tolist(), strict=True)
        )
    ]
    units = F.normalize(soft.flatten(1) if chains > 1 else soft[0], dim=-1)
    return {"thoughts": thoughts, "median_norm": norms.median().item(), "similarity": (units @ units.T).tolist()}


def show(found: dict) -> None:
    """Print what `measure_thoughts` found."""
    print("chain position     norm  nearest tokens (cosine)")
    for thought in found["thoughts"]:
        nearest = "  ".join(f"{token!r} {cosine:+.3f}" for token, cosine in thought["nearest"])
        print(f"{thought['chain']:5d} {thought['position']:8d} {thought['norm']:8.3f}  {nearest}")
    print(f"Median norm of the base model's embeddings: {found['median_norm']:.3f}")
    print("Cosines between chains (of one chain, positions):")
    for row in found["similarity"]:
        print("  " + " ".join(f"{value:+.3f}" for value in row))


def plot(found: dict, path) -> None:
    """Write a PNG: cosines between chains (or positions), each thought's nearest token with its cosine and norm."""
    thoughts = found["thoughts"]
    length = 1 + thoughts[-1]["position"]
    figure = Figure(figsize=(12, max(4.5, 0.35 * length)), layout="constrained")
    left, right = figure.subplots(1, 2)
    image = left.imshow(found["similarity"], vmin=-1, vmax=1, cmap="RdBu_r")
    left.set(title="cosines between chains (of one chain, positions)")
    figure.colorbar(image, ax=left, shrink=0.8)
    best = torch.tensor([thought["nearest"][0][1] for thought in thoughts]).reshape(-1, length)
    image = right.imshow(best.T.tolist(), vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for thought in thoughts:
        # Letters that the plot's font lacks are shown by their code; $ would open mathematics.
        token = ascii(thought["nearest"][0][0])[1:-1][:14].replace("$", r"\$")
        label = f"{token}\nnorm {thought['norm']:.2f}"
        right.text(thought["chain"], thought["position"], label, ha="center", va="center", fontsize=7)
    right.set(xlabel="chain", ylabel="position", title="nearest token and its cosine")
    figure.colorbar(image, ax=right, shrink=0.8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, path)
