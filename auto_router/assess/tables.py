"""An assessment in words: tables for a terminal, made from the dict that ``assess`` returns; and what the router is worth.

The sentence on its worth is for report, card and console: "Same accuracy as gpt-4o (-0.1 to +0.4 points) at 41 % of its cost:
USD 230 saved per 100,000 prompts; use operating_point="quality"." Every number is one of ``metrics.json``; the interval decides
the words, never the mean alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from auto_router.artifacts import Artifact
from auto_router.data.label_stats import NAN, doubt_labels
from auto_router.decide.operating_points import COST, OperatingPoint
from auto_router.decide.policy import Policy, RouterSettings, resolve_policy

MetricTable = Mapping[str, Any]

DASH = "-"
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


def report(metrics: MetricTable) -> str:
    """Return what fits a screen; the last lines are the headline. The report page has all of ``metrics.json``."""
    parts = {
        "Per-model metrics": model_lines(metrics),
        "System metrics": headline_table(metrics),
        "Operating points": points_table(metrics),
    }
    blocks = [f"{title}:\n{text}" for title, text in parts.items() if text]
    return "\n\n".join([*blocks, headline_lines(metrics)])


def headline_lines(metrics: MetricTable) -> str:
    """Return what makes the figures doubtful, and the accuracy of router and oracle; or why that is not said."""
    system, shared = metrics["system"], metrics.get("in_training", {"rows": 0})
    labels = metrics.get("labels", {"sources": {}, "trust": []})
    lines = []
    if shared["rows"]:
        lines.append(
            f"warning: {shared['rows']} of {metrics['rows']} test rows, in {shared['groups']} groups, stand in the training "
            "set too (the same group or question): the figures flatter the router"
        )
    if doubt := doubt_labels(labels["sources"], labels["trust"]):
        lines.append(f"warning: {doubt}")
    lines.append(f"Router system accuracy: {format_number(system['router'])}{unlabelled_note(system)}")
    return "\n".join([*lines, f"Oracle (best possible): {format_number(system['oracle'])}"])


def worth_line(system: MetricTable) -> str:
    """Return the quality kept and the cost saved beside the best single model, each with its interval."""
    saved = "unknown" if system["cost_saved"] is None else _with_interval(system, "cost_saved", format_percent)
    kept = "unknown" if system["quality_kept"] is None else _with_interval(system, "quality_kept", format_percent)
    return f"Quality kept: {kept}, cost saved: {saved}, beside always asking {system['best_single_model']}"


def unlabelled_note(system: MetricTable) -> str:
    """Return what is to be said of test rows whose chosen model has no label; empty where there are none."""
    count, rows = system["unlabelled"], system["rows"]
    if not count:
        return ""
    said = f"the chosen model has no label in {count} of {rows} test rows ({count / rows:.1%})"
    return f" ({said}: too many to judge by the others; label them)" if system["router"] is None else f" ({said})"


def model_lines(metrics: MetricTable) -> str:
    """Return one line a model: AUC, and accuracy and F1 at the threshold in use."""
    return "\n".join(
        f"  {name}: AUC={format_number(m['auc'])}, acc={format_number(m['accuracy'])}, f1={format_number(m['f1'])}"
        for name, m in metrics["per_model"].items()
    )


def headline_table(metrics: MetricTable) -> str:
    """Return the router beside what any router must be compared with: single models, the best possible, other methods."""
    s = metrics["system"]
    costs = s["costs"] or {}
    closed = "" if s["gap_closed"] is None else f"{_with_interval(s, 'gap_closed', format_percent)} of the gap to the oracle"
    if s["router"] is None:
        closed = "not said: too many rows whose chosen model has no label"
    kinds = [
        ("router", "router", closed),
        ("best single", "best_single", f"{s['best_single_model']}, by the training set"),
        ("cheapest", "cheapest", s["cheapest_model"]),
        ("random", "random", "every model equally often"),
        ("oracle", "oracle", "best possible"),
    ]
    rows = [
        [title, format_number(s[key]), format_interval(s.get(f"{key}_interval")), format_usd(costs.get(key)), note]
        for title, key, note in kinds
        if s[key] is not None or key == "router"
    ]
    rows += [
        [name, format_number(m["accuracy"]), format_interval(m["accuracy_interval"]), format_usd(m["cost"]), "another method"]
        for name, m in metrics["baselines"].items()
    ]
    difference = _with_interval(s, "router_minus_best_single", format_signed)
    lines = [worth_line(s), _table(rows, [f"on {s['rows']} test rows", "accuracy", "95 %", "USD", ""])]
    lines.append(f"router - best single: {difference} (paired, 95 % by bootstrap over {metrics['groups']} groups)")
    lines.append(f"mean AUC {format_number(s['mean_auc'])}, mean ECE {format_number(s['mean_ece'])}")
    return "\n".join(lines)


def points_table(metrics: MetricTable) -> str:
    """Return the named operating points; empty where there are none."""
    rows = [
        [
            name,
            _with_interval(p, "quality_kept", format_percent),
            _with_interval(p, "cost_saved", format_percent),
            max(p["selection"].items(), key=lambda item: item[1])[0],
        ]
        for name, p in metrics["operating_points"].items()
    ]
    return _table(rows, ["operating point", "quality kept", "cost saved", "chosen most"]) if rows else ""


LATENCY_HEADERS = ("who answers", "median s", "95th percentile s", "answers timed", "accuracy", "USD per 1,000 prompts")


def latency_rows(metrics: MetricTable) -> list[list[str]]:
    """Return the rows of ``LATENCY_HEADERS``: the router, its operating points, every model; none where none is known."""
    found = metrics.get("latency")
    if found is None:
        return []
    system = metrics["system"]
    rows = [("router, as served", found["router"], system["router"], (system["costs"] or {}).get("router"))]
    for name, point in metrics["operating_points"].items():
        rows.append((f"operating point {name}", found["operating_points"][name], point["accuracy"], point["cost"]))
    for name, model in metrics["per_model"].items():
        rows.append((name, found["models"][name], found["models"][name]["accuracy"], model["mean_cost"]))
    return [
        [name, _seconds(took["median"]), _seconds(took["p95"]), f"{took['known']:,}", format_number(accuracy),
         format_usd(None if cost is None else 1000 * cost)]
        for name, took, accuracy, cost in rows
    ]  # fmt: skip


def describe_share(point: OperatingPoint) -> str:
    """Return the point's share of the best single model's cost, or latency, on the rows it was fitted on, with its error."""
    share, error = (point.evidence.get(f"{point.weighs} {name}") for name in ("share", "share error"))
    shown = with_error(share, error, format_percent)
    return shown if point.weighs == COST or share is None else f"{shown} of its {point.weighs}"


def _table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers=headers, disable_numparse=True, stralign="left")


def _form(spec: str) -> Callable[[float | None], str]:
    return lambda value: DASH if value is None else format(value, spec)


format_number, format_signed, format_percent, format_usd = map(_form, (".3f", "+.3f", ".1%", ".3g"))
_seconds = _form(".2f")


def with_error(value: float | None, error: float | None, form: Callable[[float | None], str]) -> str:
    """A value and its standard error, such as ``+0.012 ± 0.004``; the value alone where the error is unknown."""
    return form(value) if value is None or error is None else f"{form(value)} ± {form(error).removeprefix('+')}"


def format_interval(bounds: Sequence[float] | None, form: Callable[[float | None], str] = format_number) -> str:
    return DASH if bounds is None else f"[{form(bounds[0])}, {form(bounds[1])}]"


def _with_interval(values: MetricTable, name: str, form: Callable[[float | None], str] = format_number) -> str:
    """A measure and the interval beside it, such as ``0.891 [0.870, 0.912]``."""
    bounds = values[f"{name}_interval"]
    return form(values[name]) if bounds is None else f"{form(values[name])} {format_interval(bounds, form)}"


def policy_in_force(artifact: Artifact) -> Policy:
    """Return the policy that the artifact's metrics were taken under."""
    return resolve_policy(artifact.model_names, artifact.operating_points, RouterSettings.of(artifact.training.policy))


def describe_worth(artifact: Artifact) -> str:
    """Return what to say of an artifact that holds its metrics, in a line."""
    return " ".join(worth_sentences(artifact))


def worth_sentences(artifact: Artifact) -> list[str]:
    """Return the sentence on an artifact that holds its metrics, then what limits it."""
    metrics, point = artifact.training.metrics, policy_in_force(artifact).operating_point
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
