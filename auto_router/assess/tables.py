"""An assessment as tables for a terminal, made from the dict that ``assess`` returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from auto_router.data.label_stats import doubt_labels
from auto_router.decide.operating_points import COST, OperatingPoint

MetricTable = Mapping[str, Any]

DASH = "-"


def report(metrics: MetricTable) -> str:
    """Return what fits a screen; the last lines are the headline. The report page has all of ``metrics.json``."""
    parts = {
        "Per-model metrics": model_lines(metrics),
        "System metrics": system_table(metrics),
        "Operating points": points_table(metrics),
    }
    blocks = [f"{title}:\n{text}" for title, text in parts.items() if text]
    return "\n\n".join([*blocks, accuracy_lines(metrics)])


def accuracy_lines(metrics: MetricTable) -> str:
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


def system_table(metrics: MetricTable) -> str:
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
