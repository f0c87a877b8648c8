"""A search for people: its trials as a table and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from auto_router.errors import ConfigError
from auto_router.files import atomic_path
from auto_router.learn.trials import Trial


def trials_table(trials: Sequence[Trial]) -> str:
    """Return the table of trials, in their order."""
    rows = [[t.number, t.best_loss, t.best_epoch + 1, len(t.losses), t.outcome, *map(str, t.params.values())] for t in trials]
    headers = ["trial", "validation loss", "best epoch", "epochs", "outcome", *trials[0].params]
    return tabulate(rows, headers=headers, floatfmt=".4f", disable_numparse=list(range(5, len(headers))))


def plot_trials(trials: Sequence[Trial], path: Path) -> None:
    """Draw the validation loss of every epoch of every trial, the best first in ``trials``, as a PNG.

    Raises:
        ConfigError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ConfigError(
            f"the plot of a search needs matplotlib ({error}): pip install 'auto-router[train]'; run again, the search is kept"
        ) from error
    figure = Figure(figsize=(10.5, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    best, discarded, kept = trials[0], [t for t in trials if t.discarded], [t for t in trials[1:] if not t.discarded]
    for trial in discarded:
        axes.plot(_epochs(trial), trial.losses, color="0.75", linewidth=0.9, zorder=1)
        axes.plot(len(trial.losses), trial.losses[-1], "x", color="0.45", markersize=6, zorder=2)
    for trial in kept:
        axes.plot(_epochs(trial), trial.losses, color="#4a86b8", linewidth=1.2, zorder=3)
        axes.plot(trial.best_epoch + 1, trial.best_loss, "o", color="#4a86b8", markersize=4, zorder=4)
    axes.plot(_epochs(best), best.losses, color="#c8501e", linewidth=2.4, zorder=5)
    axes.plot(best.best_epoch + 1, best.best_loss, "*", color="#c8501e", markersize=15, zorder=6)
    for epochs in sorted({len(trial.losses) for trial in discarded}):
        axes.axvline(epochs, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
    legend = [
        Line2D([], [], color="#c8501e", linewidth=2.4, marker="*", markersize=12, label=_caption(best)),
        Line2D([], [], color="#4a86b8", marker="o", markersize=4, label=f"not discarded ({len(kept)} others)"),
        Line2D([], [], color="0.75", marker="x", markeredgecolor="0.45", label=f"discarded ({len(discarded)})"),
    ]
    figure.legend(handles=legend, loc="outside right upper", fontsize=9, frameon=False)
    _limit(axes, trials)
    axes.set(title=f"Search: {len(trials)} trials", xlabel="epoch", ylabel="validation loss (cross-entropy, nats)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="0.93")
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _epochs(trial: Trial) -> range:
    return range(1, len(trial.losses) + 1)


def _caption(best: Trial) -> str:
    settings = "\n".join(f"{name} = {value}" for name, value in best.params.items())
    return f"best: trial {best.number}, {best.best_loss:.4f} after {best.best_epoch + 1} epochs\n{settings}"


def _limit(axes: Any, trials: Sequence[Trial]) -> None:
    """Show the better nine tenths of all losses: one diverging trial must not flatten the others."""
    losses = np.concatenate([trial.losses for trial in trials])
    losses = losses[np.isfinite(losses)]
    low, high = losses.min(), np.quantile(losses, 0.9)
    room = 0.05 * max(high - low, 1e-6)
    axes.set_ylim(low - room, high + room)
