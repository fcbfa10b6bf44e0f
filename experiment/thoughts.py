"""What the soft thoughts of one question look like to the base model: nearest tokens, norms, similarity of chains.

Cosines and norms describe vectors, not what they do.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from model.causal_lm import embedding_table, embeddings_of
from utils import replaced

CHUNK = 8192  # rows of the embedding table in float32 at once


@torch.no_grad()
def nearest_tokens(base, vectors, top):
    """Return the `top` nearest tokens of each vector: cosines `[M, top]` and ids `[M, top]`; and all rows' norms `[V]`.

    vectors: `[M, d_b]` float32.
    """
    directions = F.normalize(vectors, dim=-1)
    norms, cosines, ids = [], [], []
    count = min(len(base.tokenizer), len(embedding_table(base.model)))
    for first in range(0, count, CHUNK):
        rows = embeddings_of(base.model, range(first, min(first + CHUNK, count))).float()
        norms.append(rows.norm(dim=-1))
        values, places = (directions @ F.normalize(rows, dim=-1).T).topk(min(top, len(rows)))
        cosines.append(values)
        ids.append(places + first)
    cosines, ids = torch.cat(cosines, dim=1), torch.cat(ids, dim=1)
    cosines, order = cosines.topk(min(top, cosines.shape[1]))
    return cosines, ids.gather(1, order), torch.cat(norms)


def similarity(vectors) -> list[list[float]]:
    """Return the cosines of all pairs of rows: `[M, D] -> [M, M]`."""
    directions = F.normalize(vectors, dim=-1)
    return (directions @ directions.T).tolist()


def describe(base, soft, top):
    """Return all that is shown, as plain numbers, and the norms of all embeddings. soft: `[N, L, d_b]`."""
    chains, length, _ = soft.shape
    cosines, ids, norms = nearest_tokens(base, soft.flatten(0, 1), top)
    sorted_norms = norms.sort().values
    thoughts = [
        {
            "chain": place // length,
            "position": place % length,
            "norm": vector.norm().item(),
            "share_of_smaller_embeddings": torch.searchsorted(sorted_norms, vector.norm()).item() / len(norms),
            "nearest": [(base.tokenizer.decode([token]), cosine) for token, cosine in zip(*nearest, strict=True)],
        }
        for place, (vector, *nearest) in enumerate(zip(soft.flatten(0, 1), ids.tolist(), cosines.tolist(), strict=True))
    ]
    return {
        "thoughts": thoughts,
        "embedding_norm_quantiles": {q: norms.quantile(q).item() for q in (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)},
        "unit": "chain" if chains > 1 else "position",
        "similarity": similarity(soft.flatten(1) if chains > 1 else soft[0]),
    }, norms.tolist()


def show(found):
    """Print the report."""
    quantiles = ", ".join(f"{share:.0%} {value:.3f}" for share, value in found["embedding_norm_quantiles"].items())
    print(f"Norms of the base model's embeddings, quantiles: {quantiles}")
    print("\nchain position     norm  larger than  nearest tokens (cosine)")
    for thought in found["thoughts"]:
        nearest = "  ".join(f"{token!r} {cosine:+.3f}" for token, cosine in thought["nearest"])
        print(
            f"{thought['chain']:5d} {thought['position']:8d} {thought['norm']:8.3f}  "
            f"{thought['share_of_smaller_embeddings']:10.1%}  {nearest}"
        )
    print(f"\nCosines between {found['unit']}s:")
    for row in found["similarity"]:
        print("  " + " ".join(f"{value:+.3f}" for value in row))


def draw(found, norms, path):
    """Draw norms, cosines between chains (or positions), and each thought's nearest token."""
    thoughts, unit = found["thoughts"], found["unit"]
    length = 1 + thoughts[-1]["position"]
    figure = Figure(figsize=(16, max(4.5, 0.35 * len(thoughts) / length, 0.35 * length)), layout="constrained")
    histogram, middle, right = figure.subplots(1, 3)
    histogram.hist(norms, bins=80, color="lightgray", label="embeddings of all tokens")
    histogram.plot([t["norm"] for t in thoughts], [2] * len(thoughts), "|", markersize=12, label="soft thoughts")
    histogram.set(xlabel="norm", ylabel="tokens", title="norms", yscale="log")
    histogram.legend(fontsize="small")

    image = middle.imshow(found["similarity"], vmin=-1, vmax=1, cmap="RdBu_r")
    middle.set(xlabel=unit, ylabel=unit, title=f"cosines between {unit}s")
    figure.colorbar(image, ax=middle, shrink=0.8)

    best = torch.tensor([t["nearest"][0][1] for t in thoughts]).reshape(-1, length)
    image = right.imshow(best.T.tolist(), vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for thought in thoughts:
        # Letters that the plot's font lacks are shown by their code; $ would open mathematics.
        token = ascii(thought["nearest"][0][0])[1:-1][:14].replace("$", r"\$")
        right.text(thought["chain"], thought["position"], token, ha="center", va="center", fontsize=7)
    right.set(xlabel="chain", ylabel="position", title="nearest token and its cosine")
    figure.colorbar(image, ax=right, shrink=0.8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as scratch:
        figure.savefig(scratch, dpi=120, format="png")
