"""What the soft thoughts of one question look like to the base model: nearest tokens, norms, similarity of chains.

For each soft thought the nearest rows of the base model's embedding table (cosine), its norm against the norms of all
rows, and how alike the chains are (SoftCoT++; of SoftCoT: the positions). Cosines and norms describe vectors, not what
they do.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from model.causal_lm import embedding_table, embeddings_of
from utils import replaced

CHUNK = 8192  # rows of the embedding table in float32 at once


def table_rows(base):
    """Yield (first id, embeddings `[chunk, d_b]` float32 as the model makes them) of the tokenizer's tokens."""
    count = min(len(base.tokenizer), len(embedding_table(base.model)))
    for first in range(0, count, CHUNK):
        yield first, embeddings_of(base.model, range(first, min(first + CHUNK, count))).float()


@torch.no_grad()
def nearest_tokens(base, vectors, top):
    """Return the `top` nearest tokens of each vector: cosines `[M, top]` and ids `[M, top]`; and all rows' norms `[V]`.

    vectors: `[M, d_b]` float32.
    """
    directions = F.normalize(vectors, dim=-1)
    norms, cosines, ids = [], [], []
    for first, rows in table_rows(base):
        norms.append(rows.norm(dim=-1))
        values, places = (directions @ F.normalize(rows, dim=-1).T).topk(min(top, len(rows)))
        cosines.append(values)
        ids.append(places + first)
    cosines, ids = torch.cat(cosines, dim=1), torch.cat(ids, dim=1)
    cosines, order = cosines.topk(min(top, cosines.shape[1]))
    return cosines, ids.gather(1, order), torch.cat(norms)


def similarity(vectors):
    """Return the cosines of all pairs of rows: `[M, D] -> [M, M]`."""
    directions = F.normalize(vectors, dim=-1)
    return directions @ directions.T


def describe(base, soft, top):
    """Return all that is shown, as plain numbers, and the norms of all embeddings. soft: `[N, L, d_b]`."""
    chains, length, _ = soft.shape
    cosines, ids, norms = nearest_tokens(base, soft.flatten(0, 1), top)
    sorted_norms = norms.sort().values
    thoughts = []
    for place, vector in enumerate(soft.flatten(0, 1)):
        norm = vector.norm()
        below = torch.searchsorted(sorted_norms, norm).item() / len(sorted_norms)
        nearest = [
            {"id": token, "token": base.tokenizer.decode([token]), "cosine": cosine}
            for token, cosine in zip(ids[place].tolist(), cosines[place].tolist(), strict=True)
        ]
        thoughts.append(
            {
                "chain": place // length,
                "position": place % length,
                "norm": norm.item(),
                "share_of_smaller_embeddings": below,
                "nearest": nearest,
            }
        )
    shares = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)
    quantiles = {f"{share:g}": sorted_norms[round(share * (len(norms) - 1))].item() for share in shares}
    return {
        "thoughts": thoughts,
        "embedding_norm_quantiles": quantiles,
        "chain_similarity": similarity(soft.flatten(1)).tolist(),
        "position_similarity": [similarity(chain).tolist() for chain in soft],
    }, norms.tolist()


def show(found):
    """Print the report."""
    quantiles = found["embedding_norm_quantiles"]
    print(
        "Norms of the base model's embeddings, quantiles: "
        + ", ".join(f"{float(share):.0%} {value:.3f}" for share, value in quantiles.items())
    )
    print("\nchain position     norm  larger than  nearest tokens (cosine)")
    for thought in found["thoughts"]:
        nearest = "  ".join(f"{entry['token']!r} {entry['cosine']:+.3f}" for entry in thought["nearest"])
        print(
            f"{thought['chain']:5d} {thought['position']:8d} {thought['norm']:8.3f}  "
            f"{thought['share_of_smaller_embeddings']:10.1%}  {nearest}"
        )
    name = "chain" if len(found["chain_similarity"]) > 1 else "position"
    matrix = found["chain_similarity"] if name == "chain" else found["position_similarity"][0]
    print(f"\nCosines between {name}s:")
    for row in matrix:
        print("  " + " ".join(f"{value:+.3f}" for value in row))


def draw(found, norms, path):
    """Draw norms, cosines between chains (or positions), and each thought's nearest token."""
    chains, length = len(found["chain_similarity"]), len(found["position_similarity"][0])
    figure = Figure(figsize=(16, max(4.5, 0.35 * max(chains, length))), layout="constrained")
    axes = figure.subplots(1, 3)
    axes[0].hist(norms, bins=80, color="lightgray", label="embeddings of all tokens")
    axes[0].set_yscale("log")
    for chain in range(chains):
        values = [t["norm"] for t in found["thoughts"] if t["chain"] == chain]
        axes[0].plot(
            values,
            [2 * 1.3**chain] * length,
            "|",
            markersize=12,
            color=f"C{chain % 10}",
            label=f"soft thoughts, chain {chain}" if chains <= 12 else None,
        )
    axes[0].set(xlabel="norm", ylabel="tokens", title="norms")
    axes[0].legend(fontsize="small")

    name = "chain" if chains > 1 else "position"
    matrix = found["chain_similarity"] if chains > 1 else found["position_similarity"][0]
    image = axes[1].imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
    axes[1].set(xlabel=name, ylabel=name, title=f"cosines between {name}s")
    figure.colorbar(image, ax=axes[1], shrink=0.8)

    best = torch.tensor([t["nearest"][0]["cosine"] for t in found["thoughts"]]).reshape(chains, length)
    image = axes[2].imshow(best.T.tolist(), vmin=0, vmax=1, cmap="Blues", aspect="auto")
    if chains * length <= 160:
        for thought in found["thoughts"]:
            # Letters that the plot's font lacks are shown by their code; $ would open mathematics.
            token = ascii(thought["nearest"][0]["token"])[1:-1][:14].replace("$", r"\$")
            axes[2].text(thought["chain"], thought["position"], token, ha="center", va="center", fontsize=7)
    axes[2].set(xlabel="chain", ylabel="position", title="nearest token and its cosine")
    for axis in (axes[1].xaxis, axes[1].yaxis, axes[2].xaxis, axes[2].yaxis):
        axis.get_major_locator().set_params(integer=True)
    figure.colorbar(image, ax=axes[2], shrink=0.8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as scratch:
        figure.savefig(scratch, dpi=120, format="png")
