"""The pictures of a run."""

from utils import replaced


def plot_loss(history, path, title):
    """Draw the losses against epochs. history: of `model.training.train`; the loss's terms too if there are several."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    terms = [("token", "token", ""), ("contrastive", "contrastive", "")] if "contrastive" in history[0] else []
    for key, label, marker in (("loss", "training", ""), *terms, ("eval_loss", "dev", "o")):
        points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker, label=label)
    axes.set(xlabel="epoch", ylabel="loss", title=title)
    axes.set_yscale("log")
    axes.legend()
    with replaced(path) as scratch:
        figure.savefig(scratch, dpi=120, format="png")
    plt.close(figure)
