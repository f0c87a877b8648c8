"""What a router was trained on, kept small: how far a prompt is from it, and which training prompts are nearest.

Up to ``MAX_ANCHORS`` training rows (*anchors*) stand for all. A row is described by its ``COMPONENTS`` main directions and by
the length of the rest; the squared distance of two rows is taken to be that of their components plus that of their rests, which
is what it is on average where the rests point anywhere. A prompt with an image, for a router that never saw one, is all rest.
The prompt features behind an embedding count as they are, standardised and clipped, ``FORM`` as much as the embedding: what
an embedding takes for much the same, a list of words to join or code to run, often looks unlike all of training. Those that a
language decides count nothing: it is told apart below.

*Novelty* is the distance to the nearest anchor over the limit, which about ``ALPHA`` of new rows like those of training are
beyond. The limit is an order statistic of distances by group folds: directions and anchors of the other folds, so that a row
is as new to them as a prompt will be (split conformal prediction; Vovk, Gammerman & Shafer 2005; Barber et al. 2021). Novelty
looks at the first ``COARSE`` directions only: they tell the unlike as well as all of them, and are sooner read.

An encoder of one language sees little of others: their vectors lie among those of training. So a prompt is novel, too, where
it is in a language that training had not (:mod:`auto_router.data.prompt_features`). Training had those that its groups are
in, without the rarest, which together are fewer than ``ALPHA / 2`` of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from auto_router.arrays import Floats, Ints
from auto_router.data.prompt_features import (
    FEATURE_NAMES,
    LANGUAGE_FEATURES,
    foreignness,
    foreignness_of,
    language_probabilities,
    main_language,
)
from auto_router.data.splits import group_folds
from auto_router.errors import ConfigError
from auto_router.learn.memmap import Subset

MAX_ANCHORS = 1024
COMPONENTS = 64
COARSE = 16
FORM = 0.5  # of the mean squared distance of two random embeddings: that of their prompt features
MIN_SPREAD = 0.15  # of a prompt feature, in its own unit: of one that hardly varied in training, little would be much
ALPHA = 0.0125
FOLDS = 10
ANY_LANGUAGE = "any"
MIN_GROUPS = 3  # of training in a language that is known
NEAR = 0.05  # of the distance of two random rows: nearer than this nothing is unlike
SHORT_HISTORY = 2048.0
"""Tokens of a conversation before its prompt up to which a router of single prompts decides as well as without (measured by
``benchmarks/conversations.py``). Beyond, nothing was measured: what is said there may matter, and the router never saw it."""
HISTORY_GROWTH = 0.1
_CHUNK = 256  # rows at once: what is computed on the way stays in the processor's cache


def history_novelty(tokens: Sequence[float]) -> Floats:
    """Return what the novelty of prompts ``[N]`` is multiplied by, for a router that was trained on single prompts.

    1 up to ``SHORT_HISTORY`` tokens of conversation before them, and ``HISTORY_GROWTH`` more each time these double.
    """
    doublings = np.log2(np.maximum(np.asarray(tokens, dtype=np.float32) / SHORT_HISTORY, 1.0))
    return np.asarray(1.0 + HISTORY_GROWTH * doublings)


@dataclass(frozen=True)
class NoveltyDetector:
    """Anchors of the training rows. Prompts themselves are kept only where that was asked for."""

    mean: Floats
    basis: Floats
    """``[D, K]``."""
    points: Floats
    """``[A, K + 1]``: components, and the length of the rest."""
    limit: float
    idx: Ints
    """``[A]``: ``idx`` of the training records."""
    outcomes: Floats
    """``[A, M]``: their labels, NaN = unknown."""
    form: Floats
    """``[2, F]``: centre and scale of the prompt features; F is 0 where they do not count."""
    forms: Floats
    """``[A, F]``: the anchors' features, so scaled and clipped."""
    reach: float
    """How far from 0 a scaled feature is clipped."""
    prompts: list[str] = field(default_factory=list)
    """Their prompts; empty where they are not kept."""

    coarse: int = COARSE
    """How many of the components novelty looks at."""

    rate: float = ALPHA
    """Share of rows like those of training that are to be expected to be novel."""

    languages: tuple[str, ...] = ()
    """Those of training; empty where language tells nothing, such as with a multilingual encoder."""

    def novelty(self, rows: Floats, prompts: Sequence[str] | None = None) -> Floats:
        """Return ``[N]`` for input rows ``[N, D + F]`` and their prompts: above 1 is unlike everything seen.

        Without ``prompts`` their language is not looked at.
        """
        parts = [self._squared_distances(rows[i : i + _CHUNK]).min(axis=1) for i in range(0, max(len(rows), 1), _CHUNK)]
        found: Floats = np.asarray(np.sqrt(np.maximum(np.concatenate(parts), 0.0)) / np.float32(self.limit))
        if prompts is None or not self.languages:
            return found
        foreign = [foreignness_of(prompt, self.languages) for prompt in prompts]
        return np.maximum(found, np.array(foreign, dtype=found.dtype))

    def _squared_distances(self, rows: Floats) -> Floats:
        """Return the squared distances ``[N, A]`` to the anchors; rounding may leave them below zero."""
        directions, origin, doubled, squares = self._terms
        embedded, form = rows[:, : len(self.mean)], self._form(rows)
        along = embedded @ directions
        squared: Floats = np.concatenate([along[:, 1:] - origin, form], axis=1) @ doubled
        squared += (np.vecdot(embedded, embedded) - 2.0 * along[:, 0] + np.vecdot(form, form))[:, None]
        squared += squares
        return squared

    def _form(self, rows: Floats) -> Floats:
        """Return the prompt features ``[N, F]`` of input rows as they count."""
        start = len(self.mean)
        return _scaled_form(rows[:, start : start + self.form.shape[1]], self.form, self.reach)

    @cached_property
    def _terms(self) -> tuple[Floats, Floats, Floats, Floats]:
        """What |x - m - a|² = |x|² - 2x·m + |m|² - 2(x - m)·a + |a|² takes that no row changes: the mean m and the first
        directions, where m lies along these, -2aᵀ along them and in form, and |m|² + |a|².
        """
        basis, anchors = self.basis[:, : self.coarse], self.points[:, :-1][:, : self.coarse]
        squares = self._lengths + np.vecdot(self.mean, self.mean)
        return np.column_stack([self.mean, basis]), self.mean @ basis, -2.0 * np.hstack([anchors, self.forms]).T, squares

    @property
    def _lengths(self) -> Floats:
        """``[A]``: the anchors' squared distances to the middle of training."""
        return np.asarray(np.vecdot(self.points, self.points) + np.vecdot(self.forms, self.forms))

    def nearest(self, row: Floats, count: int) -> list[tuple[int, float]]:
        """Return the positions and distances of the nearest anchors of one input row ``[D + F]``, the nearest first."""
        centred = row[: len(self.mean)] - self.mean
        point = centred @ self.basis
        rest = max(float(centred @ centred - point @ point), 0.0) + np.square(self.forms - self._form(row[None])).sum(axis=1)
        distances = np.sqrt(np.square(self.points[:, :-1] - point).sum(axis=1) + np.square(self.points[:, -1]) + rest)
        order = np.argsort(distances, kind="stable")[:count]
        return [(int(place), float(distances[place])) for place in order]

    def without_column(self, column: int) -> NoveltyDetector:
        """Return the same anchors without the outcomes of one model."""
        return replace(self, outcomes=np.delete(self.outcomes, column, axis=1))

    def with_column(self, values: Floats) -> NoveltyDetector:
        """Return the same anchors with the outcomes ``[A]`` of one more model."""
        return replace(self, outcomes=np.concatenate([self.outcomes, values[:, None]], axis=1))

    def to_plain(self) -> dict[str, Any]:
        """Return arrays and plain values; the points as float16, which is finer than they are meaningful."""
        plain = {name: getattr(self, name) for name in ("limit", "prompts", "coarse", "rate", "reach")}
        for name in ("mean", "basis", "points", "outcomes", "form", "forms"):
            plain[name] = np.asarray(getattr(self, name), dtype=np.float16)
        return plain | {"idx": self.idx, "languages": list(self.languages)}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], dim: int, n_models: int, prompt_dim: int = 0) -> NoveltyDetector | None:
        """Build from :meth:`to_plain`; None from an empty mapping. Raises ConfigError where the values do not fit.

        Args:
            values: arrays and plain values.
            dim: of an embedding.
            n_models: of the router.
            prompt_dim: how many prompt features stand behind an embedding.
        """
        if not values:
            return None
        if "form" not in values and isinstance(values.get("points"), np.ndarray):  # of a version that did not look at it
            values = {**values, "form": np.zeros((2, 0)), "forms": np.zeros((len(values["points"]), 0)), "reach": 0.0}
        names = ("mean", "basis", "points", "outcomes", "idx", "form", "forms")
        bad = [name for name in names if not isinstance(values.get(name), np.ndarray)]
        if bad or not isinstance(values.get("prompts"), list):
            raise ConfigError(f"anchors are damaged ({', '.join(bad)})")
        try:
            arrays = {name: values[name].astype(np.float32) for name in names if name != "idx"}
            found = cls(
                limit=float(values["limit"]),
                idx=values["idx"],
                prompts=list(values["prompts"]),
                # An artifact that does not say was made when novelty looked at all of them.
                coarse=int(values.get("coarse", arrays["basis"].shape[-1])),
                rate=float(values.get("rate", ALPHA)),
                reach=float(values["reach"]),
                languages=tuple(values.get("languages", ())),
                **arrays,
            )
        except (TypeError, KeyError, AttributeError, ValueError, RuntimeError) as error:
            raise ConfigError(f"anchors are not valid ({error})") from error
        count, components = len(found.points), found.basis.shape[-1]
        features = prompt_dim if found.form.size else 0  # an older one has none, and the network of it has
        shapes = {
            "mean": (dim,), "basis": (dim, components), "points": (count, components + 1), "outcomes": (count, n_models),
            "form": (2, features), "forms": (count, features),
        }  # fmt: skip
        wrong = [name for name, shape in shapes.items() if arrays[name].shape != shape]
        if found.idx.dtype != np.int64 or found.idx.shape != (count,):
            wrong.append("idx")
        if found.prompts and (len(found.prompts) != count or not all(isinstance(p, str) for p in found.prompts)):
            wrong.append("prompts")
        finite = all(np.isfinite(arrays[name]).all() for name in arrays if name != "outcomes") and np.isfinite(found.reach)
        if not all(isinstance(language, str) for language in found.languages):
            wrong.append("languages")
        if wrong or not count or not finite or not 0 < found.limit < np.inf or found.coarse < 0 or not 0 <= found.rate <= 1:
            raise ConfigError(f"anchors are damaged ({', '.join(wrong) or 'impossible numbers'})")
        return found


def fit_novelty(
    rows: Floats,
    labels: Floats,
    groups: Ints,
    idx: Sequence[int],
    prompts: Sequence[str] = (),
    seed: int = 0,
    texts: Sequence[str] = (),
    languages: Sequence[str] = (),
    prompt_dim: int = 0,
) -> tuple[NoveltyDetector, Floats]:
    """Fit to input rows ``[N, D + prompt_dim]`` of the training records, their ``labels`` [N, M], groups and ``idx``.

    ``prompt_dim``: how many of ``FEATURE_NAMES`` the rows end in, all or 0.

    ``prompts`` are stored in clear where they are given. The languages of ``texts``, the same prompts, count where these are
    given; ``languages`` are those that the encoder knows, ``any`` for more than can be named. The second value is the novelty
    ``[N]`` of the rows themselves, each told by the other folds; NaN where there is one group only.
    """
    part = np.random.default_rng(seed).permutation(len(rows))[: 4 * MAX_ANCHORS]
    numbers = np.asarray(idx, dtype=np.int64)
    detector = _anchors(rows, part, labels, numbers, COMPONENTS, seed, prompt_dim)
    fold, distances = group_folds(groups, FOLDS, seed), np.full(len(rows), np.nan)
    for number in np.unique(fold):
        inside, outside = part[fold[part] != number], np.flatnonzero(fold == number)
        if len(inside):
            distances[outside] = _distances(_anchors(rows, inside, labels, numbers, COARSE, seed, prompt_dim), rows, outside)
    known: tuple[str, ...] = ()
    foreign: Floats = np.zeros(len(rows))
    if texts and ANY_LANGUAGE not in languages:
        known, foreign = _fit_languages(texts, groups, fold, languages)
    rest = part[foreign[part] <= 1.0]
    odd = 1.0 - len(rest) / len(part)
    limit, rate = _limit(distances[rest], 1.0, max(ALPHA - odd, ALPHA / 2))
    # Training rows that all have a twin say nothing of how far training reaches, and distances are not exact.
    least = max(NEAR * float(2.0 * detector._lengths.mean()) ** 0.5, NEAR)
    if limit < least:
        limit = least
        rate = min(rate, float((1 + (distances[rest] > least).sum()) / (len(rest) + 1)))
    stored = [prompts[i] for i in np.sort(part[:MAX_ANCHORS]).tolist()] if prompts else []
    detector = replace(detector, limit=limit, rate=odd + (1.0 - odd) * rate, prompts=stored, languages=known)
    return detector, np.where(foreign > 1.0, np.fmax(distances / limit, foreign), distances / limit)


def _fit_languages(texts: Sequence[str], groups: Ints, fold: Ints, more: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
    """Return the languages of the texts with ``more``, and how foreign ``[N]`` each is to those of the other folds."""
    each = [language_probabilities(text) for text in texts]
    spoken = np.array([main_language(one) or "" for one in each])
    foreign = np.zeros(len(each))
    for number in np.unique(fold):
        known = _known_languages(spoken[fold != number], groups[fold != number], more)
        for row in np.flatnonzero(fold == number).tolist() if known else ():
            foreign[row] = foreignness(each[row], known)
    return _known_languages(spoken, groups, more), foreign


def _known_languages(spoken: npt.NDArray[np.str_], groups: Ints, more: Sequence[str]) -> tuple[str, ...]:
    """Return ``more`` and what ``spoken`` [N] holds without the rarest, which fewer than ``ALPHA / 2`` of the groups are in."""
    names = [name for name in np.unique(spoken).tolist() if name]
    counts = {name: len(np.unique(groups[spoken == name])) for name in names}
    beyond = ALPHA / 2 * sum(counts.values())
    known = set(more)
    for name in sorted(names, key=counts.__getitem__):
        beyond -= counts[name]
        if beyond < 0.0 and counts[name] >= MIN_GROUPS:
            known.add(name)
    return tuple(sorted(known))


def _anchors(
    rows: Floats, part: Ints, labels: Floats, idx: Ints, components: int, seed: int, prompt_dim: int
) -> NoveltyDetector:
    """Return main directions of the rows ``part``, and the first of these rows as anchors."""
    from sklearn.utils.extmath import randomized_svd  # for training only; routing must not import it

    chosen, dim = np.sort(part[:MAX_ANCHORS]), rows.shape[1] - prompt_dim
    sample = Subset(rows, part)[:]
    embedded = sample[:, :dim]
    mean = embedded.mean(axis=0)
    centred = embedded - mean
    _, _, directions = randomized_svd(centred, min(components, *centred.shape), random_state=seed)
    basis = np.ascontiguousarray(directions.T, dtype=np.float32)
    form, reach = _fit_form(sample[:, dim:], float(np.vecdot(centred, centred).mean()))
    kept = Subset(rows, chosen)[:]
    centred = kept[:, :dim] - mean
    along, lengths = centred @ basis, np.vecdot(centred, centred)
    rest = np.sqrt(np.maximum(lengths - np.vecdot(along, along), 0.0))
    points, forms = np.concatenate([along, rest[:, None]], axis=1, dtype=np.float32), _scaled_form(kept[:, dim:], form, reach)
    return NoveltyDetector(mean.astype(np.float32), basis, points, 1.0, idx[chosen], labels[chosen], form, forms, reach)


def _fit_form(features: Floats, variance: float) -> tuple[Floats, float]:
    """Return centre and scale ``[2, F]`` of features beside embeddings of a ``variance``, and where they are clipped."""
    from auto_router.learn.stack_fit import CLIP  # for training only, as scikit-learn is

    counted = np.array([name not in LANGUAGE_FEATURES for name in FEATURE_NAMES[: features.shape[1]]], dtype=np.float32)
    unit = (FORM * variance / max(float(counted.sum()), 1.0)) ** 0.5
    scale = unit * counted / np.maximum(features.std(axis=0), MIN_SPREAD)
    return np.stack([features.mean(axis=0), scale]).astype(np.float32), CLIP * unit


def _scaled_form(features: Floats, form: Floats, reach: float) -> Floats:
    """Return prompt features ``[N, F]`` as they count: centred, scaled and clipped."""
    return np.asarray(np.clip((features - form[0]) * form[1], -reach, reach))


def _distances(detector: NoveltyDetector, rows: Floats, part: Ints) -> Floats:
    """Return how far each of the rows ``part`` is from the nearest anchor."""
    chunks = (part[start : start + _CHUNK] for start in range(0, len(part), _CHUNK))
    return detector.limit * np.concatenate([detector.novelty(Subset(rows, chunk)[:]) for chunk in chunks])


def _limit(distances: Floats, unknown: float, share: float) -> tuple[float, float]:
    """Return the distance that a ``share`` of new rows is beyond, and the share that is to be expected of as many rows.

    Of n distances that are exchangeable with a new one, the new one is above the k-th smallest with probability
    1 - k/(n + 1) (Vovk et al. 2005). ``unknown``: the limit where no distance is known.
    """
    known = np.sort(distances[~np.isnan(distances)])
    if not len(known):
        return unknown, share
    place = min((len(known) + 1) * (1.0 - share), float(len(known)))  # from 1
    limit = float(np.interp(place - 1.0, np.arange(len(known)), known))
    return limit, 1.0 - place / (len(known) + 1)
