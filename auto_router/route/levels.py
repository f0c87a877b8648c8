"""What outcomes say of each model's level: how far its predictions are off, as a map of its probabilities.

A model is *steady* (training has it right), or it *changed*. A change has one of three forms, since labels and models go wrong
in such ways: its odds are multiplied (it is better or worse at everything), its right answers are (a judge took some for wrong,
or some are not given any more), or its wrong answers are. Which form, and how much, is averaged over what the outcomes leave
open. A few outcomes, which are as much luck as truth, move nothing, and a model that became another is found after some tens.

All models may have moved together: traffic is harder than the training rows, or people are harder to please. Then those that
were seldom asked move with the others. Without that, a router would leave the models of which it knows for those of which it
does not.
"""

from __future__ import annotations

import numpy as np

from auto_router.arrays import Floats
from auto_router.learn.calibration import Calibration
from auto_router.route.feedback import Feedback

MODEL_CHANGES = 0.1  # share of models that changed on their own, before any outcome says so
CHANGE_FORMS = (0.25, 0.5, 0.25)  # of a change: of the odds, of right answers, of wrong ones
COMMON_CHANGE = 0.02  # how likely all moved together, before any outcome says so
STEADY_SPREAD, CHANGED_SPREAD = 0.05, 1.5  # standard deviations of a shift, in logarithms
HIGHEST = 0.95  # no share of right answers is multiplied above it: one wrong answer would weigh too much
_EDGE = 1e-3
_GRID = np.linspace(0.0, 1.0, 101)
_SHIFTS = np.linspace(-4.0, 4.0, 161)
_COMMON = _SHIFTS[::2]


def _odds(p: Floats, shift: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + (1.0 - p) / p * np.exp(-shift)))


def _right(p: Floats, shift: Floats) -> Floats:
    return np.asarray((p * np.exp(shift)).clip(_EDGE, np.maximum(HIGHEST, p)))


def _wrong(p: Floats, shift: Floats) -> Floats:
    return 1.0 - _right(1.0 - p, -shift)


def _normal(spread: float, around: Floats, at: Floats) -> Floats:
    found = np.exp(-0.5 * ((at - around) / spread) ** 2)
    return np.asarray(found / found.sum(axis=-1, keepdims=True))


_MAPS = np.stack([form(_GRID.clip(_EDGE, 1 - _EDGE), _SHIFTS[:, None]) for form in (_odds, _right, _wrong)])
"""``[3, S, G]``: what each form makes of the probabilities of the grid, by shift."""
_STEADY = _normal(STEADY_SPREAD, _COMMON[:, None], _SHIFTS)  # [C, S]
_CHANGED = np.outer(CHANGE_FORMS, _normal(CHANGED_SPREAD, np.zeros(1), _SHIFTS))  # [3, S]
_TOGETHER = COMMON_CHANGE * _normal(CHANGED_SPREAD, np.zeros(1), _COMMON)
_TOGETHER[len(_COMMON) // 2] += 1.0 - COMMON_CHANGE  # [C]; the middle is no shift


def fit_levels(probabilities: Floats, feedback: Feedback) -> Calibration:
    """Return the map of each model's probabilities that outcomes of its answers ask for: a posterior mean.

    Args:
        probabilities: ``[N, M]``, by predictions that did not learn from these rows.
        feedback: the outcomes.
    """
    count = probabilities.shape[1]
    seen = [_likelihood(probabilities, feedback, model) for model in range(count)]
    changed = [float((likelihood * _CHANGED).sum()) for likelihood in seen]
    steady = np.stack([likelihood @ _STEADY.T for likelihood in seen])  # [M, 3, C]
    evidence = (1 - MODEL_CHANGES) * steady + MODEL_CHANGES * np.array(changed)[:, None, None]
    weight = np.log(evidence).sum(axis=0) + np.log(_TOGETHER)
    weight = np.exp(weight - weight.max())
    weight /= weight.sum()
    asked, knots = np.unique(feedback.columns).tolist(), []
    for model, likelihood in enumerate(seen):
        if model in asked:
            share = weight / evidence[model]
            found = likelihood * ((1 - MODEL_CHANGES) * share @ _STEADY + MODEL_CHANGES * share.sum() * _CHANGED)
        else:  # it moves with all, or stays
            found = weight @ _STEADY
        curve = np.einsum("fs,fsg->g", found, _MAPS)
        knots.append((_GRID.tolist(), np.maximum.accumulate(curve.clip(0.0, 1.0)).tolist()))
    return Calibration("sigmoid", knots)


def level_shifts(levels: Calibration, probabilities: Floats) -> Floats:
    """Return ``[M]``: how far the maps move each model's mean of ``probabilities``, in log odds."""
    before, after = (values.mean(axis=0).clip(_EDGE, 1 - _EDGE) for values in (probabilities, levels(probabilities)))
    return np.asarray(np.log(after / (1 - after)) - np.log(before / (1 - before)))


def _likelihood(probabilities: Floats, feedback: Feedback, model: int) -> Floats:
    """Return ``[3, S]``: how likely the model's outcomes are by form and shift; the highest is 1."""
    rows = feedback.columns == model
    places = np.rint(probabilities[rows, model].clip(0.0, 1.0) * (len(_GRID) - 1)).astype(np.int64)
    outcomes = feedback.outcomes[rows]
    right, wrong = (np.bincount(places, values, len(_GRID)) for values in (outcomes, 1.0 - outcomes))
    found = np.log(_MAPS) @ right + np.log(1.0 - _MAPS) @ wrong
    return np.asarray(np.exp(found - found.max()))
