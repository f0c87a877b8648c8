"""What an assessment looks like on a terminal: tables made from the dict that ``assess`` returns, and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from auto_router.data.label_trust import UNSTATED, describe_sources, doubt_labels, trust_table
from auto_router.decide.operating_points import COST, OperatingPoint, default_point

MetricTable = Mapping[str, Any]

DASH = "-"


def report(metrics: MetricTable) -> str:
    """Return the whole report; the last lines are the headline."""
    parts = {
        "Per-model metrics": "\n".join(filter(None, [model_lines(metrics), models_table(metrics)])),
        "System metrics": headline_table(metrics),
        "Cost and quality": cost_quality_table(metrics),
        "Operating points": points_table(metrics),
        "Latency beside accuracy and cost": latency_table(metrics),
        "Other methods on the same rows": baselines_table(metrics),
        "By source": breakdown_table(metrics, "source"),
        "By modality": breakdown_table(metrics, "modality"),
        "How far the labels can be trusted": labels_table(metrics),
    }
    blocks = [f"{title}:\n{text}" for title, text in parts.items() if text]
    return "\n\n".join([*blocks, headline_lines(metrics)])


def headline_lines(metrics: MetricTable) -> str:
    """Return what the router is worth, in a few lines: quality kept, cost saved, accuracy, oracle; or why that is not said."""
    system, shared = metrics["system"], metrics.get("in_training", {"rows": 0})
    lines = []
    if shared["rows"]:
        lines.append(
            f"warning: {shared['rows']} of {metrics['rows']} test rows, in {shared['groups']} groups, stand in the training "
            "set too (the same group or question): the figures flatter the router"
        )
    lines += [worth_line(system), f"Router system accuracy: {format_number(system['router'])}{unlabelled_note(system)}"]
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


def models_table(metrics: MetricTable) -> str:
    """Return what the lines leave out: intervals, calibration, cost, and what each model adds to the pool."""
    rows = [
        [
            name,
            format_interval(m["auc_interval"]),
            format_number(m["brier"]),
            _with_interval(m, "ece"),
            _with_interval(m, "positive_rate"),
            m["known"],
            format_usd(m["mean_cost"]),
            format_signed(m["oracle_gain"]),
            format_percent(metrics["system"]["selection"][name]),
        ]
        for name, m in metrics["per_model"].items()
    ]
    headers = ["model", "AUC, 95 %", "Brier", "ECE", "positive rate", "labels", "USD", "adds to oracle", "chosen"]
    return _table(rows, headers)


def headline_table(metrics: MetricTable) -> str:
    """Return the router beside what any router must be compared with."""
    s = metrics["system"]
    costs = s["costs"] or {}
    closed = (
        "" if s["gap_closed"] is None else f"{_with_interval(s, 'gap_closed', format_percent)} of the gap to the oracle closed"
    )
    if s["router"] is None:
        closed = "not said: too many rows whose chosen model has no label"
    kinds = [
        ("router", "router", closed),
        ("best single", "best_single", f"{s['best_single_model']}, chosen on the training set"),
        ("cheapest", "cheapest", s["cheapest_model"]),
        ("random", "random", "every model equally often"),
        ("oracle", "oracle", "best possible accuracy"),
    ]
    rows = [
        [title, format_number(s[key]), format_interval(s.get(f"{key}_interval")), format_usd(costs.get(key)), note]
        for title, key, note in kinds
        if s[key] is not None or key == "router"
    ]
    difference = _with_interval(s, "router_minus_best_single", format_signed)
    lines = [worth_line(s), "", _table(rows, [f"accuracy on {s['rows']} test rows", "", "95 %", "USD", ""])]
    lines.append(f"router - best single: {difference} (paired, 95 % by bootstrap over {metrics['groups']} groups)")
    lines.append(f"mean AUC {format_number(s['mean_auc'])}, mean ECE {format_number(s['mean_ece'])}")
    return "\n".join(lines)


def cost_quality_table(metrics: MetricTable) -> str:
    """Return the measures of the cost–quality curve; empty where no cost is known."""
    c, s, pair = metrics["cost_quality"], metrics["system"], metrics["pair"]
    rows = []
    if c is not None:
        rows = [
            ["AIQ", _with_interval(c, "aiq"), f"area under the hull; zero router {format_number(c['zero_router_aiq'])}"],
            ["AIQ - zero router", _with_interval(c, "aiq_minus_zero_router", format_signed), "above 0: worth having"],
            ["nAUC, pool's range", format_number(c["pool_nauc"]), "comparable between routers"],
            ["nAUC, own range", format_number(c["own_nauc"]), "not comparable between routers"],
            ["Ps", format_number(c["peak"]), "best accuracy of any setting"],
            ["QNC", format_percent(c["qnc"]), "of best single's cost buys its accuracy, on the hull"],
            ["PerfGain", format_percent(c["perf_gain"], "+.1%"), "best setting against best single"],
            ["CostSave", format_percent(c["cost_save"]), "saved by the cheapest setting as good as best single"],
            ["RankScore", format_number(s["rank_score"]), "the served decisions, accuracy before cost (β = 0.1)"],
            ["cost share", _with_interval(s, "cost_share", format_percent), "the served decisions' cost, of best single's"],
        ]
    if pair is not None:
        rows += [["APGR", format_number(pair["apgr"]), f"{pair['weak']} to {pair['strong']}; a random router has 0.5"]]
        rows += [[f"CPT({q} %)", format_percent(pair[f"cpt_{q}"]), f"of calls to {pair['strong']}"] for q in (50, 80)]
    return _table(rows, ["measure", "", ""]) if rows else ""


def points_table(metrics: MetricTable) -> str:
    """Return the named operating points; empty where there are none."""
    rows = [
        [
            name,
            _with_interval(p, "quality_kept", format_percent),
            _with_interval(p, "cost_saved", format_percent),
            _with_interval(p, "accuracy"),
            _with_interval(p, "minus_best_single", format_signed),
            format_usd(p["cost"]),
            _selection(p["selection"]),
        ]
        for name, p in metrics["operating_points"].items()
    ]
    headers = ["operating point", "quality kept", "cost saved", "accuracy", "- best single", "USD", "chosen most"]
    return _table(rows, headers) if rows else ""


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


def _seconds(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}"


def latency_table(metrics: MetricTable) -> str:
    """Return what answers took beside what they are worth; empty where no latency is known."""
    rows = latency_rows(metrics)
    return _table(rows, LATENCY_HEADERS) if rows else ""


def baselines_table(metrics: MetricTable) -> str:
    """Return the router beside other methods; empty where none was given."""
    s, c = metrics["system"], metrics["cost_quality"] or {}
    if not metrics["baselines"]:
        return ""
    router = {"accuracy": s["router"], "accuracy_interval": s["router_interval"], "aiq": c.get("aiq")}
    rows = [
        [
            name,
            _with_interval(m, "accuracy"),
            format_percent(m["gap_closed"]),
            format_number(m["mean_auc"]),
            format_number(m["mean_ece"]),
            format_number(m["aiq"]),
            _with_interval(m, "minus_router", format_signed) if "minus_router" in m else "",
        ]
        for name, m in {"router": {**s, **router}, **metrics["baselines"]}.items()
    ]
    return _table(rows, ["method", "accuracy", "gap closed", "AUC", "ECE", "AIQ", "- router"])


def breakdown_table(metrics: MetricTable, by: str) -> str:
    """Return the headline by ``source`` or ``modality``; empty where there are fewer than two of them."""
    parts = metrics["breakdown"][by]
    if len(parts) < 2:
        return ""
    names = ("router", "best_single", "random", "oracle")
    rows = [
        [key, part["rows"], *(format_number(part[name]) for name in names), _selection(part["selection"])]
        for key, part in parts.items()
    ]
    return _table(rows, [by, "rows", "router", "best single", "random", "oracle", "chosen most"])


def labels_table(metrics: MetricTable) -> str:
    """Return what the labels rest on, and each check of them; empty where neither is known."""
    found = metrics.get("labels", {"sources": {}, "trust": []})
    known = set(found["sources"]) - {UNSTATED}
    lines = [describe_sources(found["sources"])] if known else []
    return "\n".join([*lines, *filter(None, [trust_table(found["trust"]), doubt_labels(found["sources"], found["trust"])])])


def fitted_points_table(points: Mapping[str, OperatingPoint]) -> str:
    """Return what each point aims at, and what it did on the rows it was fitted on."""
    rows = [
        [
            name,
            point.aim,
            with_error(point.evidence.get("gain"), point.evidence.get("standard error"), format_signed),
            describe_share(point),
            "yes" if name == default_point(points) else "",
        ]
        for name, point in points.items()
    ]
    return _table(rows, ["point", "aim", "- best single", "of its cost", "served without settings"])


def describe_share(point: OperatingPoint) -> str:
    """Return the point's share of the best single model's cost, or latency, on the rows it was fitted on, with its error."""
    share, error = (point.evidence.get(f"{point.weighs} {name}") for name in ("share", "share error"))
    shown = with_error(share, error, format_percent)
    return shown if point.weighs == COST or share is None else f"{shown} of its {point.weighs}"


def _table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers=headers, disable_numparse=True, stralign="left")


def format_number(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"


def format_signed(value: float | None) -> str:
    return DASH if value is None else f"{value:+.3f}"


def format_percent(value: float | None, form: str = ".1%") -> str:
    return DASH if value is None else format(value, form)


def format_usd(value: float | None) -> str:
    return DASH if value is None else f"{value:.3g}"


def with_error(value: float | None, error: float | None, form: Callable[[float | None], str]) -> str:
    """A value and its standard error, such as ``+0.012 ± 0.004``; the value alone where the error is unknown."""
    return form(value) if value is None or error is None else f"{form(value)} ± {form(error).removeprefix('+')}"


def format_interval(bounds: Sequence[float] | None, form: Callable[[float | None], str] = format_number) -> str:
    return DASH if bounds is None else f"[{form(bounds[0])}, {form(bounds[1])}]"


def _with_interval(values: MetricTable, name: str, form: Callable[[float | None], str] = format_number) -> str:
    """A measure and the interval beside it, such as ``0.891 [0.870, 0.912]``."""
    bounds = values[f"{name}_interval"]
    return form(values[name]) if bounds is None else f"{form(values[name])} {format_interval(bounds, form)}"


def _selection(shares: Mapping[str, float], most: int = 3) -> str:
    """The models chosen most often."""
    first = sorted(shares.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"{name} {share:.0%}" for name, share in first if share >= 0.005)
