"""Session policies on chats of labelled questions: are the models of ``adaptive`` as often right, and what do they cost?

``growing_chats.py`` prints this beside its own chats, whose answers nobody has judged: there "right" is the router's own P, and
the policy that takes the largest of noisy numbers at every turn looks better than it is. Here each turn has a label.

Nine questions, three of each of three tasks, make six chats: the tasks one after the other, in each order. Replies are the
reference answers. Every question is held out in turn: the groups of a set are dealt to ``FOLDS`` folds, and chats of a fold's
questions are sent to routers that were trained on the other folds, one of each seed. No question is in two bundles of nine,
so bundles are what intervals are drawn over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
from conversations import Held, encode, hold_out_fold

from auto_router.arrays import Bools, Floats, Ints
from auto_router.artifacts import Artifact
from auto_router.assess.metrics import interval
from auto_router.data.conversation import conversation_input, turns_of
from auto_router.data.dataset import Dataset, Prediction
from auto_router.data.request import Request, read_request
from auto_router.decide.eligibility import eligible_rows, outcomes_of
from auto_router.decide.policy import ADAPTIVE, SESSION_POLICIES, Policies, RouterSettings, choose_each
from auto_router.decide.session import Session, SessionRule, begin_turn, pack_subject

FOLDS = 5
STRETCHES, QUESTIONS = 3, 3
LENGTH = STRETCHES * QUESTIONS
ORDERS = list(permutations(range(STRETCHES)))
MAX_BUNDLES = 50
"""Of a fold."""
SYSTEM_TOKENS, REPLY_TOKENS = 1_500.0, 300.0
"""What chats have beside the words that are written here: the operator's instructions, and replies at full length."""


@dataclass(frozen=True, slots=True)
class Chats:
    """Chats of ``LENGTH`` turns, one behind the other, those of a bundle too, and what the router says of every turn."""

    data: Dataset
    requests: list[Request]
    subjects: list[bytes]
    tokens: Floats
    """Of every request."""
    prediction: Prediction
    eligible: Bools
    held: Held

    @property
    def count(self) -> int:
        return len(self.requests) // LENGTH


def take_chosen(values: Floats, chosen: Ints) -> Floats:
    """Return what ``values`` ``[C, L, M]`` say of the chosen models, ``[C, L]``."""
    return np.asarray(np.take_along_axis(values, chosen[..., None], axis=2)[..., 0])


def draw_bundles(sources: Sequence[str], seed: int) -> Ints:
    """Return the rows of bundles, ``[B, STRETCHES, QUESTIONS]``, those of a stretch of one task, each row once at most."""
    rng = np.random.default_rng(seed)
    left = {source: rng.permutation(np.flatnonzero(np.array(sources) == source)).tolist() for source in sorted(set(sources))}
    bundles: list[list[list[int]]] = []
    while len(bundles) < MAX_BUNDLES:
        full = [source for source, rows in left.items() if len(rows) >= QUESTIONS]
        if len(full) < STRETCHES:
            break
        tasks = rng.choice(full, STRETCHES, replace=False).tolist()
        bundles.append([[left[task].pop() for _ in range(QUESTIONS)] for task in tasks])
    return np.array(bundles, dtype=np.int64).reshape(-1, STRETCHES, QUESTIONS)


def make_chats(folder: Path, fold: int, seed: int) -> Chats:
    """Return chats of the questions of a fold without images, each one of its group; ``seed`` is of the router alone."""
    held = hold_out_fold(folder, fold, FOLDS, seed)
    _, first = np.unique(held.data.groups, return_index=True)
    data = held.data.take(np.array([row for row in sorted(first.tolist()) if not held.data.records[row].images]))
    bundles = draw_bundles([str(record.source) for record in data.records], fold)
    drawn = bundles[:, ORDERS].reshape(-1, LENGTH)
    requests, inputs = [], []
    for chat, rows in enumerate(drawn.tolist()):
        messages: list[dict[str, str]] = []
        for row in rows:
            record = data.records[row]
            messages = [*messages, {"role": "user", "content": record.prompt}]
            requests.append(read_request({"messages": messages, "session_id": f"{fold} {chat}"}))
            inputs.append(conversation_input(turns_of(messages)))
            messages = [*messages, {"role": "assistant", "content": record.answer or "Done."}]
    data = data.take(drawn.ravel())
    features = encode(data, inputs)
    texts_of = [request.text for request in requests]
    prediction = held.artifact.predict(features, texts_of, [request.history_tokens for request in requests])
    beside = SYSTEM_TOKENS + REPLY_TOKENS * np.arange(LENGTH)
    tokens = np.array([request.tokens for request in requests]) + np.tile(beside, len(drawn))
    subjects = [pack_subject(row) for row in features[:, : held.artifact.layout.text_dim]]
    return Chats(data, requests, subjects, tokens, prediction, eligible_rows(data), held)


def choose_models(chats: Chats, artifact: Artifact, policy: str, point: str) -> Ints:
    """Return the models that answer the turns, ``[C, LENGTH]``, under the artifact's prices."""
    rule = SessionRule(artifact.model_names, artifact.facts, policy)
    in_force = Policies(artifact.model_names, artifact.operating_points, RouterSettings()).at(point)
    sessions: list[Session | None] = [None] * chats.count
    chosen = np.zeros((chats.count, LENGTH), dtype=np.int64)
    for turn in range(LENGTH):
        rows = np.arange(turn, len(chats.requests), LENGTH)
        prediction = chats.prediction.take(rows)
        choices = choose_each([in_force] * len(rows), prediction, chats.eligible[rows])
        places = [
            begin_turn(replace(chats.requests[row], text_tokens=chats.tokens[row]), before, chats.subjects[row], reason)
            for row, before, reason in zip(rows.tolist(), sessions, choices.reasons, strict=True)
        ]
        choices, _ = rule.keep_models(choices, prediction, [in_force] * len(rows), places)
        chosen[:, turn] = choices.chosen
        sessions = [
            replace(place.now, model=artifact.model_names[model]) for model, place in zip(chosen[:, turn], places, strict=True)
        ]
    return chosen


def cost_chats(chats: Chats, chosen: Ints, artifact: Artifact) -> Floats:
    """Return USD of a turn in each chat: what a model's provider was sent before comes from its cache."""
    names, totals = artifact.model_names, np.zeros(chats.count)
    for chat in range(chats.count):
        cached: dict[int, float] = {}
        for turn, model in enumerate(chosen[chat].tolist()):
            tokens = chats.tokens[chat * LENGTH + turn]
            known, prices = min(cached.get(model, 0.0), tokens), artifact.facts[names[model]]
            fresh = (tokens - known) * (prices.input_usd_per_mtok or 0.0) + REPLY_TOKENS * (prices.output_usd_per_mtok or 0.0)
            totals[chat] += known * (prices.cached_input_usd_per_mtok or 0.0) + fresh
            cached[model] = tokens
    return totals / 1e6 / LENGTH


Prices = Callable[[Artifact], Mapping[str, Artifact]]


def compare_labelled(
    folder: Path, folds: Sequence[int], seeds: Sequence[int], points: Sequence[str], prices: Prices
) -> list[dict[str, Any]]:
    """Return a line for every price set, operating point and policy, over these folds and the routers of these seeds.

    ``right`` is the share of right answers; ``difference`` that of ``adaptive`` less this policy's, ``low`` to ``high`` its
    paired interval, by bundles. ``USD low`` to ``USD high`` is the interval of what ``adaptive`` costs more for 1,000 turns.
    ``changes`` are the turns within a stretch that change the model, ``tasks`` the changes of task. At turns that change it,
    ``expected gain`` is P(new) - P(old), and ``gain`` what came true of it: the new model's label less the old one's.
    """
    parts: dict[tuple[str, str, str], list[tuple[Any, ...]]] = {}
    for fold, seed in product(folds, seeds):
        chats = make_chats(folder, fold, seed)
        bundles = fold * MAX_BUNDLES + np.arange(chats.count) // len(ORDERS)
        labels = outcomes_of(chats.data.labels, chats.eligible).reshape(chats.count, LENGTH, -1)
        p = chats.prediction.probabilities.reshape(labels.shape)
        for (name, artifact), point, policy in product(prices(chats.held.artifact).items(), points, SESSION_POLICIES):
            chosen = choose_models(chats, artifact, policy, point)
            right = take_chosen(labels, chosen)
            usd = cost_chats(chats, chosen, artifact)
            gains = [take_chosen(of[:, 1:], chosen[:, 1:]) - take_chosen(of[:, 1:], chosen[:, :-1]) for of in (p, labels)]
            parts.setdefault((name, point, policy), []).append((right, chosen[:, 1:] != chosen[:, :-1], usd, *gains, bundles))
    lines = []
    begins = np.arange(1, LENGTH) % QUESTIONS == 0
    for (name, point, policy), some in parts.items():
        right, changed, usd, expected, gain, bundles = (np.concatenate(column) for column in zip(*some, strict=True))
        among = max(int(changed.sum()), 1)
        differences = np.concatenate([part[0] for part in parts[name, point, ADAPTIVE]]) - right
        low, high = interval(differences.mean(axis=1), bundles, 0)
        more = np.concatenate([part[2] for part in parts[name, point, ADAPTIVE]]) - usd
        usd_low, usd_high = interval(1000 * more, bundles, 0)
        lines.append({
            "set": folder.name, "prices": name, "point": point, "policy": policy, "right": float(right.mean()),
            "difference": float(differences.mean()), "low": low, "high": high, "changes": float(changed[:, ~begins].mean()),
            "tasks": float(changed[:, begins].mean()), "USD/1000 turns": 1000 * float(usd.mean()),
            "USD low": usd_low, "USD high": usd_high,
            "expected gain": float(expected[changed].sum()) / among, "gain": float(gain[changed].sum()) / among,
        })  # fmt: skip
    return lines


def labelled_misses(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Return where another policy is right more often than ``adaptive``, or as often at a lower cost.

    Both by 95 % intervals: what a policy is right more often, and what it costs less, may be noise of the chats drawn.
    """
    found = []
    for line in lines:
        where = f"{line['set']}, {line['prices']}, {line['point']}: {line['policy']}"
        if line["high"] < 0:
            found.append(f"{where} is right more often by {-100 * line['difference']:.2f} points")
        if line["USD low"] > 0 and line["low"] <= 0:
            low, high, usd = (line[name] for name in ("USD low", "USD high", "USD/1000 turns"))
            found.append(f"{where} costs {low / usd:.1%} to {high / usd:.1%} less and is right as often")
    return found
