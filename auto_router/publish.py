"""What Stage 3 leaves in ``router_artifacts/``: the artifact, its metrics as numbers, pictures, page and card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import joblib

from auto_router.artifacts import Artifact, save_artifact
from auto_router.assess.card import CARD_NAME, model_card
from auto_router.assess.plots import curve_png, reliability_png
from auto_router.assess.report import REPORT_NAME, report_page, write_report
from auto_router.encode.store import Embedded
from auto_router.files import atomic_path, write_json
from auto_router.records import Record


def publish(folder: Path, artifact: Artifact, train: Sequence[Record], test: Embedded) -> None:
    """Write everything and say so; what routing needs comes first.

    Args:
        folder: where to.
        artifact: with its metrics in ``training``.
        train: the training records.
        test: the records it was assessed on.
    """
    save_artifact(folder / "nn_router.pth", artifact)
    for name, value in {"model_names": artifact.model_names, "best_hyperparameters": artifact.training["config"]}.items():
        with atomic_path(folder / f"{name}.joblib") as temporary:
            joblib.dump(value, temporary)
    metrics = artifact.training["metrics"]
    write_json(folder / "metrics.json", metrics)
    reliability_png(metrics, folder / "reliability.png")
    if metrics["cost_quality"] is not None:
        curve_png(metrics, folder / "cost_quality.png")
    write_report(folder / REPORT_NAME, report_page(artifact, train, test))
    with atomic_path(folder / CARD_NAME) as temporary:
        temporary.write_text(model_card(artifact), encoding="utf-8", errors="backslashreplace")
    print(f"\nwrote nn_router.pth, metrics.json, {CARD_NAME}, plots and the .joblib companions to {folder.resolve()}")
    print(f"look at it: {(folder / REPORT_NAME).resolve()}")
