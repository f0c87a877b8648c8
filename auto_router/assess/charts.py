"""The report's interactive charts as Bokeh figures: of ``metrics.json``, and of what the report measures itself.

Colours are named by tags (``fill:blue``), and the page's script sets them from its style sheet, light or dark. Nothing is told
by colour alone: markers, dashes and hatches differ too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from typing import Any

from bokeh.models import (
    BasicTicker,
    ColumnDataSource,
    DataRange1d,
    FactorRange,
    FixedTicker,
    HoverTool,
    NumeralTickFormatter,
    PrintfTickFormatter,
)
from bokeh.plotting import figure

from auto_router.assess.learning_curve import LearningCurve
from auto_router.assess.rewordings import RewordingEffect

MetricValues = Mapping[str, Any]
Figures = dict[str, Any]

COLOURS = ("blue", "orange", "green", "red", "sky", "purple", "yellow", "grey")
HATCHES = (" ", "/", ".", "x", "-", "\\", "o", "+")
WIDE = 10.0  # a cost range of more than this factor is drawn on a logarithmic axis
MAX_CHART_PARTS = 25
PER_1000 = 1000.0


def charts(metrics: MetricValues, trials: Sequence[MetricValues] = ()) -> Figures:
    """Return the figures by the id of their place in the page; those that have nothing to show are left out."""
    found: Figures = {}
    if metrics["cost_quality"] is not None:
        found["cost-quality"] = cost_quality_chart(metrics)
    found["explorer-chart"] = explorer_chart()
    if len(metrics["per_model"]) > 1:
        found["marginal"] = marginal(metrics)
    for number, (name, model) in enumerate(metrics["per_model"].items()):
        if model["known"]:
            found[f"reliability-{number}"] = reliability_chart(name, model)
    for by, parts in metrics["breakdown"].items():
        if parts:
            found[f"selection-{by}"] = selection(parts, metrics["models"])
    if trials:
        found["trials"] = search(trials)
    return found


def measured_later(curve: LearningCurve | None, rewordings: Sequence[RewordingEffect]) -> Figures:
    """Return the figures of what Stage 3 does not measure, where it was measured."""
    found: Figures = {} if curve is None else {"learning-curve": curve_chart(curve)}
    shown = [effect for effect in rewordings if effect.prompts]
    return found | ({"rewordings-chart": flips_chart(shown)} if shown else {})


def curve_chart(curve: LearningCurve) -> figure:
    """What the router gains over the best single model, against the rows that it learned from."""
    points = [tuple(100 * value for value in curve.gain(size)) for size in range(len(curve.rows))]
    gains, low, high = ([mean + side * reach for mean, reach in points] for side in (0, -1, 1))
    plot = _figure(280, "rows learned from", "gain, points")
    source = ColumnDataSource({"x": curve.rows, "y": gains, "low": low, "high": high, "labels": curve.labels})
    _tag(plot.line([0, int(curve.rows[-1])], [0, 0], line_dash="dashed"), "line:grey")
    _tag(plot.segment("x", "low", "x", "high", source=source, line_width=2), "line:sky")
    _tag(plot.line("x", "y", source=source, line_width=2), "line:blue")
    dots = plot.scatter("x", "y", source=source, size=9)
    _tag(dots, "fill:blue", "line:ink")
    _hover(
        plot, dots, [("rows", "@x"), ("labels", "@labels"), ("gain", "@y{+0.0} points"), ("95 %", "@low{+0.0} to @high{+0.0}")]
    )
    return plot


def flips_chart(effects: Sequence[RewordingEffect]) -> figure:
    """Share of choices that flip under each rewording."""
    effects = effects[::-1]
    names, flips = [effect.rule for effect in effects], [100 * effect.flips for effect in effects]
    low, high = ([100 * min(1.0, max(0.0, e.flips + side * e.flips_reach)) for e in effects] for side in (-1, 1))
    plot, bars = _interval_bars(
        "choices that flip, %, with 95 %", names, flips, low, high, [effect.prompts for effect in effects],
        x_range=(0, max(5.0, 1.05 * max(high))),
    )  # fmt: skip
    _hover(plot, bars, [("", "@name"), ("flips", "@value{0.0} %"), ("95 %", "@low{0.0} to @high{0.0}"), ("prompts", "@rows")])
    return plot


def cost_quality_chart(metrics: MetricValues) -> figure:
    """Accuracy against cost: the router's settings and their hull, every model, the zero router, oracle and points."""
    found, system = metrics["cost_quality"], metrics["system"]
    paid = system["costs"] or {}
    singles, points, served, oracle = map(
        _drop_unknown,
        (
            found["single_models"],
            {name: (point["cost"], point["accuracy"]) for name, point in metrics["operating_points"].items()},
            {"router as served": (paid.get("router"), system["router"])},
            {"oracle": (paid.get("oracle"), system["oracle"])},
        ),
    )
    costs = [place[0] for place in [*found["curve"], *singles.values()]]
    wide = min(costs) > 0 and max(costs) > WIDE * min(costs)
    plot = _figure(420, "mean cost of 1,000 prompts, USD", "accuracy", x_axis_type="log" if wide else "linear")
    if wide:
        # 1, 2 and 5 of every decade: the library's own ticks are too few where the range is one decade or two.
        decades = range(floor(log10(min(costs) * PER_1000)) - 1, ceil(log10(max(costs) * PER_1000)) + 1)
        plot.xaxis.ticker = FixedTicker(ticks=[m * 10.0**e for e in decades for m in (1, 2, 5)], minor_ticks=[])
    last = max(costs)
    for name, corners, colour, dash in (
        ("mixtures of single models", found["zero_router_hull"], "grey", "dashed"),
        ("the router at its settings", found["hull"], "blue", "solid"),
    ):
        line = [*corners, [max(last, corners[-1][0]), corners[-1][1]]] if corners else []
        source = _source({f"{cost:.9g}": (cost, quality) for cost, quality in line})
        _tag(plot.line("x", "y", source=source, line_width=2, line_dash=dash, legend_label=name), f"line:{colour}")
    curve = {f"a setting of the router ({i})": place for i, place in enumerate(found["curve"])}
    for label, places, marker, size, colour in (
        ("settings", curve, "dot", 10, "blue"),
        ("single models", singles, "circle", 10, "orange"),
        ("oracle", oracle, "star", 18, "green"),
        ("router as served", served, "square", 14, "blue"),
        ("operating points", points, "diamond", 13, "red"),
    ):
        if places:
            drawn = plot.scatter("x", "y", source=_source(places), marker=marker, size=size, legend_label=label)
            _tag(drawn, f"fill:{colour}", "line:ink")
            _hover(plot, drawn, [("", "@name"), ("accuracy", "@y{0.000}"), ("USD per 1,000", "@x{0.[0000]}")])
    _tagged_text(plot, singles)
    _legend_below(plot)
    return plot


def _drop_unknown(places: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Return the places of which cost and quality are both known."""
    return {name: place for name, place in places.items() if None not in place}


def explorer_chart() -> figure:
    """Where the explorer's settings lie beside the single models; the page's script fills it."""
    ranges = {side: DataRange1d(range_padding=0.25) for side in ("x_range", "y_range")}  # room for names and large markers
    plot = _figure(300, "cost of 1,000 prompts at these prices, USD", "accuracy", **ranges)
    singles = ColumnDataSource({"x": [], "y": [], "name": [], "side": [], "away": []}, name="explorer-singles")
    here = ColumnDataSource({"x": [], "y": [], "name": []}, name="explorer-here")
    drawn = plot.scatter("x", "y", source=singles, size=10, legend_label="single models")
    _tag(drawn, "fill:orange", "line:ink")
    now = plot.scatter("x", "y", source=here, marker="square_pin", size=18, legend_label="these settings")
    _tag(now, "fill:blue", "line:ink")
    for renderer in (drawn, now):
        _hover(plot, renderer, [("", "@name"), ("accuracy", "@y{0.000}"), ("USD per 1,000", "@x{0.[0000]}")])
    plot.text("x", "y", "name", source=singles, x_offset="away", y_offset=4, text_align="side", text_font_size="11px")
    _legend_below(plot)
    return plot


def marginal(metrics: MetricValues) -> figure:
    """What each model adds to the oracle: right answers of the pool that no other model gives."""
    models = sorted(metrics["per_model"].items(), key=lambda item: item[1]["oracle_gain"] or 0.0)
    names = [name for name, _ in models]
    gains = [100 * (m["oracle_gain"] or 0.0) for _, m in models]
    bounds = [m["oracle_gain_interval"] or (m["oracle_gain"] or 0.0,) * 2 for _, m in models]
    low, high = ([100 * bound[side] for bound in bounds] for side in (0, 1))
    plot, bars = _interval_bars("points of oracle accuracy lost without it, with 95 %", names, gains, low, high)
    _hover(plot, bars, [("", "@name"), ("adds", "@value{0.00} points"), ("95 %", "@low{0.00} to @high{0.00}")])
    return plot


def _interval_bars(
    across: str, names: Sequence[str], values: Sequence[float], low: Sequence[float], high: Sequence[float],
    rows: Sequence[int] | None = None, **more: Any,
) -> tuple[figure, Any]:  # fmt: skip
    """Return a chart of a bar a name, the last on top, each with its interval; and the bars. ``rows``: told on hovering."""
    plot = _figure(90 + 26 * len(names), across, "", y_range=FactorRange(factors=list(names)), **more)
    columns = {"name": names, "value": values, "low": low, "high": high, "rows": rows or [0] * len(names)}
    source = ColumnDataSource(columns)
    bars = plot.hbar("name", right="value", height=0.6, source=source)
    _tag(bars, "fill:sky", "line:ink")
    _tag(plot.segment("low", "name", "high", "name", source=source, line_width=2), "line:ink")
    return plot, bars


def reliability_chart(name: str, model: MetricValues) -> figure:
    """Predicted P against the observed share, with 95 % intervals: on the dashed line, P means what it says."""
    curve = model["reliability"]
    bounds = [b or (o, o) for b, o in zip(curve["observed_interval"], curve["observed"], strict=True)]
    plot = _figure(240, "predicted P(correct)", "observed", x_range=(-0.02, 1.02), y_range=(-0.02, 1.02))
    plot.title = name if len(name) <= 34 else name[:33] + "…"
    _tag(plot.line([0, 1], [0, 1], line_dash="dashed"), "line:grey")
    source = ColumnDataSource(
        {
            "x": curve["predicted"],
            "y": curve["observed"],
            "low": [b[0] for b in bounds],
            "high": [b[1] for b in bounds],
            "rows": curve["count"],
        }
    )
    _tag(plot.segment("x", "low", "x", "high", source=source, line_width=2, line_alpha=0.6), "line:sky")
    _tag(plot.line("x", "y", source=source), "line:blue")
    dots = plot.scatter("x", "y", source=source, size=6)
    _tag(dots, "fill:blue", "line:ink")
    _hover(plot, dots, [("predicted", "@x{0.000}"), ("observed", "@y{0.000}"), ("rows", "@rows")])
    plot.xaxis.ticker = plot.yaxis.ticker = BasicTicker(desired_num_ticks=3)
    return plot


def selection(parts: Mapping[str, MetricValues], models: Sequence[str]) -> figure:
    """Which model the router chose, by part of the test set, the largest part on top; rare models are one."""
    largest = dict(list(parts.items())[:MAX_CHART_PARTS])
    total = sum(part["rows"] for part in largest.values())
    weight = {m: sum(part["rows"] * part["selection"][m] for part in largest.values()) / total for m in models}
    often = sorted((m for m in models if weight[m] > 0), key=lambda m: -weight[m])
    shown = often[: len(COLOURS)] if len(often) <= len(COLOURS) else often[: len(COLOURS) - 1]
    rows = {m: [100 * part["selection"][m] for part in largest.values()] for m in shown}
    if len(often) > len(shown):
        rows["others"] = [100 * sum(part["selection"][m] for m in often[len(shown) :]) for part in largest.values()]
    # Short, and two long names that begin alike stay two.
    names = [name if len(name) <= 28 else f"{name[:24]}… {number + 1}" for number, name in enumerate(largest)]
    plot = _figure(150 + 24 * len(names), "share of prompts, %", "", y_range=FactorRange(factors=names[::-1]), x_range=(0, 100))
    left = [0.0] * len(names)
    for number, (model, shares) in enumerate(rows.items()):
        right = [a + b for a, b in zip(left, shares, strict=True)]
        source = ColumnDataSource({"part": names, "left": left, "right": right, "share": shares, "model": [model] * len(names)})
        bars = plot.hbar("part", left="left", right="right", height=0.75, source=source, legend_label=model[:40],
                         hatch_pattern=HATCHES[number], hatch_scale=8)  # fmt: skip
        _tag(bars, f"fill:{COLOURS[number]}", "line:paper", "hatch:ink")
        _hover(plot, bars, [("", "@part"), ("", "@model"), ("share", "@share{0.0} %")])
        left = right
    _legend_below(plot)
    return plot


def search(trials: Sequence[MetricValues]) -> figure:
    """Validation loss of every epoch of every trial, the best one thick."""
    plot = _figure(320, "epoch", "validation loss")
    for number, trial in enumerate(trials):
        colour = "red" if number == 0 else "grey" if trial["outcome"] == "discarded" else "sky"
        losses = trial["losses"]
        source = ColumnDataSource(
            {"x": list(range(1, len(losses) + 1)), "y": losses, "name": [f"trial {trial['number']}"] * len(losses)}
        )
        label = ("best", "discarded", "the others")[("red", "grey", "sky").index(colour)]
        dash = "dotted" if colour == "grey" else "solid"
        line = plot.line("x", "y", source=source, line_width=3 if number == 0 else 1, line_dash=dash, legend_label=label)
        _tag(line, f"line:{colour}")
        _hover(plot, line, [("", "@name"), ("epoch", "@x"), ("loss", "@y{0.0000}")])
    _legend_below(plot)
    plot.yaxis.formatter = PrintfTickFormatter(format="%.3f")
    return plot


def _figure(height: int, across: str, up: str, **more: Any) -> figure:
    plot = figure(height=height, sizing_mode="stretch_width", toolbar_location=None, tools="",
                  x_axis_label=across, y_axis_label=up, min_border_right=12, **more)  # fmt: skip
    if across.startswith(("mean cost", "cost of")):
        plot.xaxis.formatter = NumeralTickFormatter(format="0.[0000]")
    plot.axis.axis_label_text_font_style = "normal"
    plot.background_fill_color = plot.border_fill_color = None  # the page shows through
    return plot


def _legend_below(plot: figure) -> None:
    plot.add_layout(plot.legend[0], "below")
    plot.legend.location = "left"
    plot.legend.ncols = 2


def _source(places: Mapping[str, Sequence[float]]) -> ColumnDataSource:
    """Costs become those of 1,000 prompts."""
    columns = {"x": [p[0] * PER_1000 for p in places.values()], "y": [p[1] for p in places.values()], "name": list(places)}
    return ColumnDataSource(columns)


def _tag(renderer: Any, *tags: str) -> None:
    renderer.glyph.tags = list(tags)


def _tagged_text(plot: figure, places: Mapping[str, Sequence[float]]) -> None:
    source = _source(places)
    middle = sorted(p[0] for p in places.values())[len(places) // 2] if places else 0.0
    source.data["short"] = [name.rsplit("/", 1)[-1][:24] for name in places]
    source.data["side"] = ["right" if p[0] >= middle else "left" for p in places.values()]
    source.data["away"] = [-9 if p[0] >= middle else 9 for p in places.values()]
    plot.text("x", "y", "short", source=source, x_offset="away", y_offset=5, text_align="side", text_font_size="11px")


def _hover(plot: figure, renderer: Any, lines: Sequence[tuple[str, str]]) -> None:
    plot.add_tools(HoverTool(renderers=[renderer], tooltips=list(lines)))
