"""Do conversations keep their model, leave it when the task changes, and cost less so?

    OMP_NUM_THREADS=1 python benchmarks/growing_chats.py [--routers FILE ...] [--points accuracy balanced] [--tune]
                                                         [--sets llmrouter14 combined5] [--folds 3 4] [--seeds 0 1 2]
                                                         [--json FILE] [--check]

The chats of ``growing_chats.txt`` are sent turn by turn, tool loops included, to three routers trained on llmrouter14 (by
``conversations.py``), under each session policy. Printed are, as means over the routers, the share of the user's follow-up
turns that change the model, the share of real changes of task that do, the mean P(right) of the chosen models, and what the
chats would cost with a prompt cache: tokens that a model's provider has seen of the chat already at a tenth of the price.
``--tune`` takes the six chats that the constants of ``auto_router/decide/session.py`` were set on, instead of the others.

Where one model is the best for both tasks there is nothing to change to. So *followed* is the share of changes of task that
change the model among those at which the rule alone names another model than the one before.

Nobody has judged the answers of these chats. By the router's own P, ``none`` looks best whatever it does: at every turn it
takes the largest of noisy numbers. So chats of labelled questions (``labelled_chats.py``) stand beside them, and say how often
the answers are right in truth.

Targets (``--check`` exits 1 where one is missed), at every point: under ``adaptive`` at most 8 % of follow-up turns change the
model, at least half of the changes of task are followed, and for each of the price sets no policy whose P(right) is as high
costs less (95 % interval over chats), nor is that of ``sticky`` higher. On the labelled chats no policy's answers are right
more often than those of ``adaptive`` (95 % interval), and none that costs less, by its interval too, is right as often.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from conversations import SETS as LABELLED_SETS
from conversations import hold_out
from labelled_chats import FOLDS, REPLY_TOKENS, SYSTEM_TOKENS, compare_labelled, labelled_misses
from recorded import DATA
from tabulate import tabulate

from auto_router.arrays import Floats
from auto_router.artifacts import Artifact, load_artifact, save_artifact
from auto_router.assess.metrics import interval
from auto_router.data.pool import ModelFacts
from auto_router.data.records import NOMINAL_TOKENS
from auto_router.data.request import read_request
from auto_router.decide.policy import ADAPTIVE, SESSION_POLICIES
from auto_router.decide.session import SESSION
from auto_router.encode.factory import open_encoder
from auto_router.errors import run
from auto_router.files import write_json
from auto_router.route.router import ModelRouter

CHATS = Path(__file__).with_suffix(".txt")
MAX_CHANGES, MIN_TASK_CHANGES, TOLERANCE = 0.08, 0.5, 0.003
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a chat: everything said so far."""

    messages: list[Message]
    kind: str
    """``first``, ``task`` (the user begins another one), ``follow-up`` or ``tool``."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was chosen for one request."""

    ask: Ask
    model: str
    probability: float
    tokens: float
    is_kept: bool
    """The session kept the model, against the rule."""


def read_chats(tune: bool) -> dict[str, list[Ask]]:
    """Return the requests of every chat."""
    parts = CHATS.read_text(encoding="utf-8").split("== ")[1:]
    chats = {part.partition("\n")[0].strip(): list(grow(part.splitlines()[1:])) for part in parts}
    return {name: asks for name, asks in chats.items() if name.startswith("tune-") == tune}


def grow(lines: Sequence[str]) -> Iterator[Ask]:
    """Yield the requests of one chat."""
    messages: list[Message] = []
    for line in filter(None, lines):
        mark, _, said = line.partition(" ")
        if mark in ("U", "U*"):
            kind = "first" if not messages else "task" if mark == "U*" else "follow-up"
            messages = [*messages, {"role": "user", "content": said}]
            yield Ask(messages, kind)
        elif mark == "C":
            call = {"id": str(len(messages)), "type": "function", "function": {"name": "run", "arguments": said}}
            messages = [*messages, {"role": "assistant", "content": None, "tool_calls": [call]}]
        elif mark == "R":
            messages = [*messages, {"role": "tool", "tool_call_id": str(len(messages) - 1), "content": said}]
            yield Ask(messages, "tool")
        else:
            messages = [*messages, {"role": "assistant", "content": said}]


def price_sets(artifact: Artifact) -> dict[str, Artifact]:
    """Return the router under three sets of prices: one for all, the recorded ones, and the dear ones five times as dear.

    It knows them: its operating points weigh what is paid. A recorded cost is that of ``NOMINAL_TOKENS`` read and as many
    written, at four times the price; what a provider has in its cache is read at a tenth.
    """
    costs = next(point.costs for point in artifact.operating_points.values() if point.costs)
    mean = float(np.mean(list(costs.values())))
    found = {}
    for name, price in (("one price", lambda cost: mean), ("recorded", lambda cost: cost),
                        ("steep", lambda cost: cost * (5.0 if cost > mean else 1.0))):  # fmt: skip
        paid = {model: price(cost) for model, cost in costs.items()}
        usd = {model: cost * 1e6 / (5 * NOMINAL_TOKENS) for model, cost in paid.items()}
        facts = {
            model: replace(artifact.facts.get(model, ModelFacts()), input_usd_per_mtok=price, output_usd_per_mtok=4 * price,
                           cached_input_usd_per_mtok=price / 10)
            for model, price in usd.items()
        }  # fmt: skip
        points = {key: replace(point, costs=paid if point.costs else {}) for key, point in artifact.operating_points.items()}
        found[name] = replace(artifact, facts=facts, operating_points=points, cost_model=None)
    return found


def send(router: ModelRouter, chats: Mapping[str, list[Ask]], point: str) -> dict[str, list[Chosen]]:
    """Send every request in its turn."""
    found: dict[str, list[Chosen]] = {}
    for name, asks in chats.items():
        for ask in asks:
            request = read_request({"messages": ask.messages, "session_id": f"{point} {name}"})
            replies = sum(message["role"] == "assistant" for message in ask.messages)
            tokens = request.tokens + SYSTEM_TOKENS + REPLY_TOKENS * replies
            made = router.decide(request=replace(request, text_tokens=tokens), operating_point=point)
            found.setdefault(name, []).append(
                Chosen(ask, made.model, made.probabilities[made.model], tokens, made.reason == SESSION)
            )
    return found


def simulate_cost(chat: Sequence[Chosen], facts: Mapping[str, ModelFacts]) -> float:
    """Return USD of a chat: what a model was sent before comes from its provider's cache."""
    cached: dict[str, float] = {}
    total = 0.0
    for step in chat:
        known, prices = min(cached.get(step.model, 0.0), step.tokens), facts[step.model]
        fresh = (step.tokens - known) * (prices.input_usd_per_mtok or 0.0)
        total += known * (prices.cached_input_usd_per_mtok or 0.0) + fresh + REPLY_TOKENS * (prices.output_usd_per_mtok or 0.0)
        cached[step.model] = step.tokens
    return total / 1e6


def share_of_changes(chats: Mapping[str, Sequence[Chosen]], kind: str, *, wanted: bool = False) -> float:
    """Return the share of requests of a kind whose model is another than that of the request before.

    ``wanted``: among those at which the rule alone names another one; NaN where there is none.
    """
    pairs = [(before, step) for chat in chats.values() for before, step in pairwise(chat) if step.ask.kind == kind]
    changed = [step.model != before.model for before, step in pairs if not wanted or step.is_kept or step.model != before.model]
    return float(np.mean(changed)) if changed else float("nan")


RATES = ("follow-ups", "tasks", "followed", "tools", "P(right)")
Setting = tuple[str, str, str]
"""Price set, operating point and session policy."""


def send_all(artifact: Artifact, chats: Mapping[str, list[Ask]], points: Sequence[str]) -> dict[Setting, tuple[Floats, Floats]]:
    """Return the :data:`RATES` of one router, and the USD of each chat, for every price set, operating point and policy."""
    found: dict[Setting, tuple[Floats, Floats]] = {}
    encoder = open_encoder("local", threads=1)
    first: ModelRouter | None = None
    with tempfile.TemporaryDirectory() as folder, ExitStack() as routers:
        for (prices, priced), policy in product(price_sets(artifact).items(), SESSION_POLICIES):
            path = Path(folder) / "priced.pth"
            save_artifact(path, priced)
            router = routers.enter_context(ModelRouter(path, encoder=encoder, device="cpu", session_policy=policy))
            first = first or router
            router.cache = first.cache  # rows are the same for all
            for point in points:
                made = send(router, chats, point)
                rates = [share_of_changes(made, "follow-up"), share_of_changes(made, "task"),
                         share_of_changes(made, "task", wanted=True), share_of_changes(made, "tool"),
                         float(np.mean([step.probability for chat in made.values() for step in chat]))]  # fmt: skip
                usd = np.array([simulate_cost(chat, priced.facts) for chat in made.values()])
                found[prices, point, policy] = np.array(rates), usd
    return found


def compare(routers: Sequence[Mapping[Setting, tuple[Floats, Floats]]]) -> list[dict[str, Any]]:
    """Return a line for every price set, operating point and policy: means over the routers.

    ``USD low`` to ``USD high`` is the 95 % interval, by chats, of what all chats cost more under ``adaptive``.
    """
    usd = {setting: np.mean([router[setting][1] for router in routers], axis=0) for setting in routers[0]}
    lines = []
    for (prices, point, policy), paid in usd.items():
        rates = np.nanmean([router[prices, point, policy][0] for router in routers], axis=0)
        more = usd[prices, point, ADAPTIVE] - paid
        low, high = interval(len(paid) * more, np.arange(len(paid)), 0)
        lines.append(
            {"prices": prices, "point": point, "policy": policy, **dict(zip(RATES, rates.tolist(), strict=True)),
             "USD": float(paid.sum()), "USD low": low, "USD high": high}
        )  # fmt: skip
    return lines


def misses(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Return what falls short of the targets."""
    found = []
    for line in (line for line in lines if line["policy"] == "adaptive"):
        where = f"{line['prices']}, {line['point']}"
        if line["follow-ups"] > MAX_CHANGES:
            found.append(
                f"{where}: {line['follow-ups']:.1%} of follow-up turns change the model, at most {MAX_CHANGES:.0%} may"
            )
        if line["followed"] < MIN_TASK_CHANGES:
            found.append(f"{where}: {line['followed']:.1%} of changes of task are followed, not {MIN_TASK_CHANGES:.0%}")
        for other in lines:
            same = all(other[name] == line[name] for name in ("prices", "point"))
            if same and other["USD low"] > 0 and other["P(right)"] > line["P(right)"] - TOLERANCE:
                low, high = (other[name] / other["USD"] for name in ("USD low", "USD high"))
                found.append(f"{where}: {other['policy']} costs {low:.1%} to {high:.1%} less, by chats")
            if same and other["policy"] == "sticky" and other["P(right)"] > line["P(right)"] + TOLERANCE:
                found.append(f"{where}: sticky is right more often, {other['P(right)']:.3f} by its own P")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Session policies on chats that grow turn by turn.")
    parser.add_argument(
        "--routers", nargs="+", type=Path, help="artifacts; without them those of conversations.py on llmrouter14, one a seed"
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds llmrouter14")
    parser.add_argument("--points", nargs="+", default=["accuracy", "balanced"])
    parser.add_argument("--tune", action="store_true", help="the six chats that constants were set on")
    parser.add_argument("--sets", nargs="*", default=LABELLED_SETS, help="whose labelled questions chats are made of")
    parser.add_argument(
        "--folds", nargs="+", type=int, default=list(range(FOLDS)), help="of these; constants were set on 0 to 2"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the routers, and of those of each fold")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args(argv)
    folder = arguments.data / "llmrouter14"
    artifacts = (
        [load_artifact(path) for path in arguments.routers]
        if arguments.routers
        else [hold_out(folder, seed, 1).artifact for seed in arguments.seeds]
    )
    chats = read_chats(arguments.tune)
    asks = [ask for chat in chats.values() for ask in chat]
    kinds = {kind: sum(ask.kind == kind for ask in asks) for kind in ("first", "follow-up", "task", "tool")}
    print(f"{len(chats)} chats, {len(asks)} requests: {kinds}")
    lines = compare([send_all(artifact, chats, arguments.points) for artifact in artifacts])
    print(tabulate(lines, headers="keys", floatfmt=".3f"))
    labelled: list[dict[str, Any]] = []
    for name in arguments.sets:
        folder, points = arguments.data / name, arguments.points
        labelled += compare_labelled(folder, arguments.folds, arguments.seeds, points, price_sets)
    print(tabulate(labelled, headers="keys", floatfmt=".3f"))
    if arguments.json:
        write_json(arguments.json, {"lines": lines, "kinds": kinds, "labelled": labelled})
    missed = [*misses(lines), *labelled_misses(labelled)] if arguments.check else []
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    if missed:
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(run(main))
