"""What an assessment looks like on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from auto_router.assess.metrics import ModelMetrics, SystemMetrics


def per_model_table(names: Sequence[str], metrics: Sequence[ModelMetrics], selection: dict[str, float]) -> str:
    """One line a model: AUC, accuracy, F1, success rate, and how often it is chosen."""
    rows = [
        [name, "-" if m.auc is None else f"{m.auc:.3f}", m.accuracy, m.f1, m.positive_rate, m.known, f"{selection[name]:.1%}"]
        for name, m in zip(names, metrics, strict=True)
    ]
    headers = ["model", "AUC", "accuracy", "F1", "positive rate", "labels", "chosen"]
    return tabulate(rows, headers=headers, floatfmt=".3f", disable_numparse=[1])


def system_table(metrics: SystemMetrics) -> str:
    """The headline: router, best single, random and oracle."""
    closed = "-" if metrics.gap_closed is None else f"{metrics.gap_closed:.1%} of the best-single → oracle gap closed"
    rows = [
        ["router", metrics.router, closed],
        ["best single", metrics.best_single, f"{metrics.best_single_model}, chosen on the training set"],
        ["random", metrics.random, "every model equally often"],
        ["oracle", metrics.oracle, "best possible accuracy"],
    ]
    return tabulate(rows, headers=[f"accuracy on {metrics.rows} test rows", "", ""], floatfmt=".3f")
