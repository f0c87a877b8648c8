"""README's picture and its table: what the router is worth on recorded answers of known models.

    python benchmarks/headline.py [--seeds 20 21 22 23 24] [--picture docs/cost-quality.svg]

Five group-wise splits, none of which the recipe was chosen on. Of each set: accuracy beside the model that is best on the
training rows, in points, and the share of that model's cost, each with a 95 % t-interval over the splits (they overlap, so it
is somewhat narrow). The picture is of ``llmrouter14``: the mean test accuracy and cost of every setting of the router, of every
single model and of the operating points. No setting is picked on the test rows. Costs are list prices times tokens.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from quality import default_router, draw, foreseen, promised
from recorded import DATA, ROOT, DataSet
from scipy.stats import t as student
from tabulate import tabulate

sys.path.insert(0, str(ROOT))

from auto_router.arrays import Floats
from auto_router.assess.cost_quality import curve_of, settings
from auto_router.assess.metrics import take_chosen
from auto_router.data.label_stats import best_single_model
from auto_router.errors import run
from auto_router.files import atomic_path

SETS = ("llmrouter14", "combined5", "routerbench_sub")
PICTURE = ROOT / "docs" / "cost-quality.svg"
COLOURS = {  # of the light page, and what they become on a dark one
    "ink": ("#1f2328", "#e6edf3"),
    "paper": ("#ffffff", "#0d1117"),
    "line": ("#8b949e", "#6e7681"),
    "router": ("#0969da", "#58a6ff"),
    "single": ("#bc4c00", "#f0883e"),
}
FEW = 1e-12


def measure(data: DataSet, seed: int) -> dict[str, Any]:
    """Return one split's figures: places (USD per 1,000 prompts, accuracy) of settings, models and points, and gains."""
    train, test = draw(data, seed, 0)
    labels, y = data.y[train], data.y[test]
    best, router = best_single_model(labels), default_router(data, train, labels, seed)
    p, expected = router.predict(data.rows[test]), foreseen(data, train, test)
    costs = None if data.costs is None else data.costs[test]
    if costs is None or expected is None:
        raise ValueError("a set without prices has no costs to draw")
    decided = {name: router.decide(name, p, data.rows[test], expected) for name in router.points}
    curve = curve_of(settings(p, expected), y, costs)
    places = {name: (np.nanmean(take_chosen(costs, rows)), np.nanmean(take_chosen(y, rows))) for name, rows in decided.items()}
    return {
        "settings": np.stack([curve.costs, curve.qualities], axis=1) * (1000, 1),
        "models": np.stack([np.nanmean(costs, axis=0), np.nanmean(y, axis=0)], axis=1) * (1000, 1),
        "points": {name: np.array(place) * (1000, 1) for name, place in places.items()},
        "gains": {name: promised(name, rows, y, costs, best) for name, rows in decided.items()},
        "best": best,
        "oracle": float(np.nanmean(np.nanmax(y, axis=1))),
    }


def interval(values: Sequence[float], form: str) -> str:
    """Return the mean and its 95 % t-interval, such as ``+1.2 [+0.4, +2.0]``."""
    sample = np.array(values)
    half = float(student.ppf(0.975, len(sample) - 1) * sample.std(ddof=1) / len(sample) ** 0.5) if len(sample) > 1 else np.nan
    low, middle, high = (format(value, form) for value in (sample.mean() - half, sample.mean(), sample.mean() + half))
    return f"{middle} [{low}, {high}]"


def table(name: str, data: DataSet, found: Sequence[dict[str, Any]]) -> str:
    """Return one set's figures by operating point."""
    best = sorted({data.names[one["best"]] for one in found})
    rows = []
    for point in found[0]["gains"]:
        gains = [one["gains"][point] for one in found]
        rows.append([point, *(interval([100 * g[key] if key == "cost" else g[key] for g in gains], form)
                              for key, form in (("gain", "+.1f"), ("cost", ".0f")))])  # fmt: skip
    oracle = np.mean([one["oracle"] - one["models"][one["best"]][1] for one in found])
    headers = [f"{name}: {len(data.y):,} rows, {len(data.names)} models", f"points over {', '.join(best)}", "% of its cost"]
    return f"{tabulate(rows, headers=headers)}\nthe oracle is {100 * oracle:.1f} points above it"


def picture(data: DataSet, found: Sequence[dict[str, Any]]) -> str:
    """Return the cost–quality chart as SVG that follows the reader's light or dark page."""
    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "auto-router", "font.size": 11, "font.family": "sans-serif"}
    from matplotlib import pyplot

    ink, paper, line, blue, orange = (light for light, _ in COLOURS.values())
    models = np.mean([one["models"] for one in found], axis=0)
    settings = _steps(np.mean([one["settings"] for one in found], axis=0))
    points = {name: np.mean([one["points"][name] for one in found], axis=0) for name in found[0]["points"]}
    figure, axes = pyplot.subplots(figsize=(8.2, 4.6), facecolor=paper)
    axes.set_facecolor(paper)
    axes.plot(settings[:, 0], 100 * settings[:, 1], color=blue, linewidth=2.5, zorder=3)
    axes.scatter(models[:, 0], 100 * models[:, 1], color=orange, s=46, zorder=4)
    for (cost, accuracy), name in zip(models, data.names, strict=True):
        dear, cheapest = cost > settings[-1, 0] * 0.7, cost == models[:, 0].min()
        place = (-8 if dear else 0, -28) if cheapest else (-8 if dear else 8, -4)
        axes.annotate(name, (cost, 100 * accuracy), place, textcoords="offset points",
                      ha="right" if dear else "left", color=orange, fontsize=9)  # fmt: skip
    for name in ("economy", "quality", "accuracy"):
        cost, accuracy = points[name]
        axes.scatter([cost], [100 * accuracy], color=blue, s=70, marker="D", zorder=5)
        axes.annotate(name, (cost, 100 * accuracy), (0, 9), textcoords="offset points", ha="center", color=blue, fontsize=10)
    axes.set_xlabel("cost of 1,000 prompts, USD", color=ink)
    axes.set_ylabel("right answers, %", color=ink)
    axes.set_title("One router above nine models", loc="left", color=ink, fontsize=13, fontweight="bold")
    axes.tick_params(colors=ink)
    axes.grid(color=line, alpha=0.25)
    axes.set_xlim(left=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(line)
    figure.tight_layout()
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, facecolor=paper)
    pyplot.close(figure)
    return follow_the_page(file.getvalue())


def _steps(settings: Floats) -> Floats:
    """Return the distinct settings, cheapest first."""
    known = settings[~np.isnan(settings).any(axis=1)]
    known = known[np.argsort(known[:, 0], kind="stable")]
    distinct: Floats = known[np.concatenate([[True], np.diff(known[:, 0]) > FEW])]
    return distinct


def follow_the_page(svg: str) -> str:
    """Return the picture with its colours as variables, which a dark page sets anew."""
    light, dark = ("".join(f"--{name}:{pair[side]};" for name, pair in COLOURS.items()) for side in (0, 1))
    for name, (colour, _) in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    rule = f"<style>svg{{{light}}}@media (prefers-color-scheme: dark){{svg{{{dark}}}}}</style>"
    title = "<title>Accuracy against cost: the router's settings lie above the single models</title>"
    opening = re.search(r"<svg [^>]*>", svg)
    assert opening is not None
    return svg[: opening.end()].replace("<svg ", '<svg role="img" ', 1) + title + rule + svg[opening.end() :]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22, 23, 24])
    parser.add_argument("--picture", type=Path, default=PICTURE)
    arguments = parser.parse_args(argv)
    for name in arguments.sets:
        data = DataSet.load(arguments.data / name)
        found = [measure(data, seed) for seed in arguments.seeds]
        print(f"\n{table(name, data, found)}", flush=True)
        if name == "llmrouter14":
            with atomic_path(arguments.picture) as temporary:
                temporary.write_text(picture(data, found), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run(main))
