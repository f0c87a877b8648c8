"""What a router is worth, in a sentence for report, card and console, and what to do next.

"Same accuracy as gpt-4o (-0.1 to +0.4 points) at 41 % of its cost: USD 230 saved per 100,000 prompts; use
operating_point="quality"." Every number is one of ``metrics.json``; the interval decides the words, never the mean alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auto_router.artifacts import Artifact
from auto_router.data.label_stats import NAN

PROMPTS = 100_000
SAME_POINTS = 2.0
"""An interval whose ends are both nearer to 0 than this many points is called "same accuracy"."""
SOME_COST = 0.005
FEW_ROWS = 300
MIN_TEST_ROWS = 30
"""Of fewer test prompts no sentence is made: chance alone would tell it."""
SMALL_GAP = 0.03
NO_GAIN = 0.005
"""Of the prompts: a model that alone knows fewer, at the upper end of its interval, adds nothing to the pool."""

_KINDS = {"text": "text prompts", "image": "images alone", "text + image": "prompts with images"}
MIN_LOST = 2
"""Prompts of a source that another model would have got right: of fewer, chance is enough to tell."""
MAX_SOURCES = 3

MUCH_CHEAPER = 0.1
"""Of the best single model's cost: so much less than the served point, and ``economy`` is worth a sentence."""


def describe_worth(artifact: Artifact) -> str:
    """Return what to say of an artifact that holds its metrics, in a line."""
    return " ".join(worth_sentences(artifact))


def worth_sentences(artifact: Artifact) -> list[str]:
    """Return the sentence on an artifact that holds its metrics, then what limits it."""
    metrics, point = artifact.training.metrics, artifact.policy.operating_point
    system, rows = metrics["system"], metrics["rows"]
    name = system["best_single_model"]
    if system["router"] is None:
        return ["Not known: too many test prompts have no label of the model chosen for them; label those, and train again."]
    if system["best_single"] is None:
        return [f"Not known: no test prompt has a label of {name}, the best single model; label some, and train again."]
    if rows < MIN_TEST_ROWS:
        return [f"Not known: {rows} test prompts are too few to tell what it is worth; label 1,000 in all, and train again."]
    settings = "these thresholds and costs" if point is None else f'operating_point="{point}"'
    cheaper = _cheaper(metrics["operating_points"].get("economy"), system)
    said = [f"{_accuracy(system, name)}{_cost(system)}; use {settings}.", _one_sided(metrics, name), cheaper]
    if system["selection"].get(name) == 1.0:
        nothing = f"Nothing is gained with {settings}: it always asks {name}, since no other model is safely as good."
        few = "More labels may change that." if rows < FEW_ROWS else ""
        said = [nothing, few, cheaper or ("" if few else "On prompts like these you need no router: ask it alone.")]
    return [sentence for sentence in said if sentence]


def suggest_next(artifact: Artifact) -> list[str]:
    """Return what to do next, a sentence each: more labels, another model, one model fewer, prompts to read."""
    metrics, found = artifact.training.metrics, []
    system = metrics["system"]
    if metrics["rows"] < FEW_ROWS:
        found.append(
            f"Label more prompts: with {metrics['rows']:,} test prompts the intervals are wide. 1,000 in all are advised."
        )
    gap = NAN if system["best_single"] is None else system["oracle"] - system["best_single"]
    if gap < SMALL_GAP and metrics["rows"] >= MIN_TEST_ROWS:
        found.append(
            f"Add a model that is right where the others are wrong: the oracle is only {100 * gap:.1f} points above "
            f"{system['best_single_model']}."
        )
    for name, model in metrics["per_model"].items() if metrics["rows"] >= MIN_TEST_ROWS else ():
        bounds = model["oracle_gain_interval"]
        if system["selection"].get(name) == 0.0 and bounds is not None and bounds[1] <= NO_GAIN:
            found.append(f"Leave {name} out: it is never chosen, and others are right wherever it is.")
    found += _where_most_is_lost(metrics.get("breakdown", {}).get("source", {}))
    return [*found, "Read the wrongly routed prompts, and check some labels: prepare_hf_data.py --audit 50."]


def _where_most_is_lost(sources: Mapping[str, Any]) -> list[str]:
    """Return a sentence that names the sources with the most prompts that another model would have got right; or nothing."""
    lost = {
        name: round(part["rows"] * (part["oracle"] - part["router"]))
        for name, part in sources.items()
        if part["oracle"] is not None and part["router"] is not None
    }
    worst = sorted((name for name in lost if lost[name] >= MIN_LOST), key=lambda name: -lost[name])[:MAX_SOURCES]
    if len(lost) < 2 or not worst:
        return []
    named = ", ".join(f"{name} ({lost[name]:,} of {sources[name]['rows']:,} prompts)" for name in worst)
    return [f"Label more prompts of these kinds, where most goes to a model that is wrong while another is right: {named}."]


def _accuracy(system: Mapping[str, Any], name: str) -> str:
    bounds = system["router_minus_best_single_interval"]
    if bounds is None:
        return f"Accuracy {100 * system['router_minus_best_single']:+.1f} points from {name}'s"
    low, high = (100 * bound for bound in bounds)
    span = f"({low:+.1f} to {high:+.1f} points)"
    if low > 0:
        return f"More right answers than {name} {span}"
    if high < 0:
        return f"Fewer right answers than {name} {span}"
    if max(-low, high) <= SAME_POINTS:
        return f"Same accuracy as {name} {span}"
    return f"As accurate as {name}, as far as {system['rows']:,} test prompts can tell {span},"


def _one_sided(metrics: Mapping[str, Any], name: str) -> str:
    """Return a sentence where all of a lead comes from prompts with images, or all from those without; else nothing."""
    parts = metrics.get("breakdown", {}).get("modality", {})
    known = {kind: part for kind, part in parts.items() if part["router"] is not None and part["best_single"] is not None}
    if any(part["rows"] < MIN_TEST_ROWS for part in known.values()):
        return ""
    ahead = [kind for kind, part in known.items() if part["router"] > part["best_single"]]
    if len(known) < 2 or len(ahead) != 1 or (metrics["system"]["router_minus_best_single_interval"] or [0])[0] <= 0:
        return ""
    other = next(kind for kind in known if kind not in ahead)
    router, best = (100 * known[other][key] for key in ("router", "best_single"))
    first, second = (_KINDS.get(kind, f"prompts of {kind}") for kind in (ahead[0], other))
    return f"All of the lead is from {first}; of {second} {router:.1f} % go right, with {name} {best:.1f} %."


def _cost(system: Mapping[str, Any]) -> str:
    costs, share = system["costs"], system["cost_share"]
    if not costs or share is None:
        return ", at a cost that is not known: give every model a price"
    saved = PROMPTS * (costs["best_single"] - costs["router"])
    if abs(1 - share) < SOME_COST:
        return " at the same cost"
    usd = f"{abs(saved):,.0f}" if abs(saved) >= 10 else f"{abs(saved):.2g}"
    change = f"USD {usd} {'saved' if saved > 0 else 'more'} per {PROMPTS:,} prompts"
    return f" at {100 * share:.0f} % of its cost: {change}"


def _cheaper(economy: Mapping[str, Any] | None, system: Mapping[str, Any]) -> str:
    """Return a second sentence where ``economy`` costs much less than what is served; else nothing."""
    share, bounds = (None, None) if economy is None else (economy["cost_share"], economy["minus_best_single_interval"])
    if share is None or bounds is None or system["cost_share"] is None or share > system["cost_share"] - MUCH_CHEAPER:
        return ""
    low, high = (100 * bound for bound in bounds)
    return f'For less: operating_point="economy", {low:+.1f} to {high:+.1f} points at {100 * share:.0f} % of its cost.'
