"""What a trained network still needs before it can serve: calibration, operating points, and what it is familiar with."""

from __future__ import annotations

from collections.abc import Sequence

from auto_router.arrays import Floats
from auto_router.artifacts import Artifact
from auto_router.assess.tables import fitted_points_table
from auto_router.costs import answer_costs
from auto_router.decide.limits import allowed_for, outcomes
from auto_router.decide.operating_points import fit_operating_points
from auto_router.learn.calibration_fit import fit_calibration
from auto_router.learn.cost_fit import explained, fit_costs
from auto_router.learn.familiar import QUANTILE, fit_familiar
from auto_router.records import Record, group_ids


def finish(artifact: Artifact, honest: Floats, inputs: Floats, used: Sequence[Record], labels: Floats, seed: int) -> None:
    """Fit calibration, expected costs and operating points to the ``honest`` predictions [N, M] of training rows; print them.

    ``inputs`` [N, D] are those rows, ``used`` their records, and ``labels`` [N, M] what was learned of them.
    """
    names, groups = artifact.model_names, group_ids(used)
    artifact.calibration = fit_calibration(honest, labels, groups, seed)
    losses = ", ".join(f"{name} {loss:.4f}" for name, loss in artifact.calibration.log_loss.items())
    print(f"calibration: {artifact.calibration.method} (cross-validated log loss: {losses})")
    probabilities, allowed = artifact.calibration(honest), allowed_for(names, artifact.pool, used)
    costs = answer_costs(used, names, artifact.pool)
    fitted = None if costs is None else fit_costs(inputs, costs, groups)
    artifact.cost_model, expected = (None, None) if fitted is None else fitted
    artifact.operating_points = fit_operating_points(
        probabilities, outcomes(labels, allowed), costs, groups, names, allowed, expected
    )
    if fitted is not None and costs is not None and expected is not None:
        print(f"expected costs by prompt: {explained(costs, expected):.0%} of their variance within models, out of fold")
    print(f"\nOperating points, fitted on training rows out of fold:\n{fitted_points_table(artifact.operating_points)}")
    if "balanced" not in artifact.operating_points:
        print("quality, balanced and economy need the cost of every model: recorded model_costs, or prices with --pool")
    artifact.training["reference"] = {
        "probability": dict(zip(names, probabilities.mean(axis=0).tolist(), strict=True)),
        "spread": dict(zip(names, probabilities.std(axis=0).tolist(), strict=True)),
        "unfamiliar": 1.0 - QUANTILE,
    }


def remember(
    artifact: Artifact, rows: Floats, labels: Floats, records: Sequence[Record], store_prompts: bool, seed: int
) -> None:
    """Keep landmarks of the training rows (embeddings ``[N, D]``) in the artifact, with prompts only where asked for."""
    prompts = [record.prompt for record in records] if store_prompts else []
    artifact.familiar = fit_familiar(rows, labels, group_ids(records), [record.idx for record in records], prompts, seed)
