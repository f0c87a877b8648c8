"""An assessment as pictures: cost against quality, and reliability. Needs matplotlib (the ``plots`` extra)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auto_router.arrays import Floats
from auto_router.errors import ConfigError, DataError
from auto_router.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = Mapping[str, Any]
Point = tuple[float, float]

# Okabe and Ito's palette: told apart with any colour vision; shapes and line styles differ too.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
WIDE = 10.0  # a cost range of more than this factor is drawn on a logarithmic axis
MOST_COLUMNS = 5


def curve_png(metrics: Values, path: Path) -> None:
    """Draw quality against mean cost: the router's curve and hull, the zero router, every model, oracle, operating points.

    Raises:
        ConfigError: matplotlib is not installed.
        DataError: no cost is known (``metrics["cost_quality"]`` is None).
    """
    found, system = metrics["cost_quality"], metrics["system"]
    if found is None:
        raise DataError("the test set has no known costs, so there is no cost–quality curve to draw; record model_costs")
    singles = _known(found["single_models"].items())
    points = _known((name, (p["cost"], p["accuracy"])) for name, p in metrics["operating_points"].items())
    large = _known((name, (system["costs"][name], system[name])) for name in ("oracle", "router"))
    figure = _figure(9.0, 6.0)
    axes = figure.add_subplot()
    spots = np.array([*found["curve"], *singles.values(), *points.values(), *large.values()])
    low, high = float(spots[:, 0].min()), float(spots[:, 0].max())
    if low > 0 and high > WIDE * low:
        axes.set_xscale("log")
    lines = [
        _line(axes, found["zero_router_hull"], high, color=GREY, linestyle="--", label="zero router: mixtures of models"),
        _line(axes, found["hull"], high, color=BLUE, linewidth=2.0, label="router: hull of its settings"),
    ]
    _dots(axes, found["curve"], ".", color=BLUE, markersize=4, alpha=0.6, label="router: each setting of λ")
    _dots(axes, singles.values(), "o", color=ORANGE, markeredgecolor="black", label="single models")
    star = {"markersize": 15, "markeredgecolor": "black", "label": "oracle: cheapest right model"}
    _dots(axes, [xy for name, xy in large.items() if name == "oracle"], "*", color=GREEN, **star)
    square = {"markersize": 12, "markeredgecolor": BLUE, "markeredgewidth": 2, "label": "router as served"}
    _dots(axes, [xy for name, xy in large.items() if name == "router"], "s", color="none", **square)
    _dots(axes, points.values(), "D", color=RED, markeredgecolor="black", label="operating points")
    axes.margins(x=0.12, y=0.12)
    title = "" if found["aiq"] is None else f"AIQ {found['aiq']:.3f}, zero router {found['zero_router_aiq']:.3f}"
    axes.set(xlabel="mean cost of an answer, USD", ylabel="accuracy (mean label)", title=title)
    axes.grid(alpha=0.25)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=3, fontsize=8, frameon=False)
    marked = [*singles.items(), *points.items()]
    bold = {*points, system["best_single_model"]}
    _place_labels(figure, axes, marked, bold, list(large.values()), np.concatenate(lines))
    _save(figure, path)


def reliability_png(metrics: Values, path: Path) -> None:
    """Draw, for every model, how often it was right in each bin of P, with 95 % intervals over groups.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    models = [(name, m) for name, m in metrics["per_model"].items() if m["known"]]
    columns = min(MOST_COLUMNS, len(models))
    rows = -(-len(models) // columns)
    figure = _figure(2.5 * columns + 0.6, 2.75 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for number, axes in enumerate(grid.flat):
        axes.set_visible(number < len(models))
        axes.tick_params(labelsize=7, labelbottom=number + columns >= len(models))
    for axes, (name, m) in zip(grid.flat, models, strict=False):
        curve = m["reliability"]
        bounds = np.array([b or (o, o) for b, o in zip(curve["observed_interval"], curve["observed"], strict=True)])
        axes.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
        axes.vlines(curve["predicted"], bounds[:, 0], bounds[:, 1], color=BLUE, alpha=0.4, linewidth=2)
        axes.plot(curve["predicted"], curve["observed"], "o-", color=BLUE, markersize=3.5, linewidth=1)
        axes.set_title(f"{_short(name, 30)}\nECE {m['ece']:.3f}", fontsize=8)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.grid(alpha=0.25)
    figure.supxlabel("predicted P(correct)", fontsize=9)
    figure.supylabel("observed share correct", fontsize=9)
    _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(f"pictures need matplotlib ({error}): pip install 'auto-router[plots]'") from error
    # Without pyplot there is no global state, no window and no display to ask for.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")


def _known(places: Iterable[tuple[str, Sequence[float | None]]]) -> dict[str, Point]:
    """The places of known cost and quality, by name."""
    return {name: (cost, quality) for name, (cost, quality) in places if cost is not None and quality is not None}


def _dots(axes: Axes, points: Iterable[Sequence[float]], marker: str, **style: Any) -> None:
    places = np.array(list(points))
    if len(places):
        axes.plot(places[:, 0], places[:, 1], marker, **style)


def _line(axes: Axes, corners: Sequence[Sequence[float]], high: float, **style: Any) -> Floats:
    """Draw a hull, flat to ``high``, and return the points drawn ``[P, 2]``: more than the corners, since a mixture of two
    settings is no straight line on a logarithmic axis."""
    if not corners:
        return np.zeros((0, 2))
    costs, qualities = np.array(corners).T
    last = max(high, costs[-1])
    even = np.geomspace(costs[0], last, 200) if costs[0] > 0 else np.linspace(costs[0], last, 200)
    grid = np.unique(np.concatenate([even, costs]))
    heights = np.interp(grid, costs, qualities)
    axes.plot(grid, heights, **style)
    return np.stack([grid, heights], axis=1)


def _place_labels(
    figure: Figure, axes: Axes, marked: Sequence[tuple[str, Point]], bold: set[str], large: Sequence[Point], lines: Floats
) -> None:
    """Write each name near its point, at the nearest place that is free of names, markers, lines and the border."""
    figure.draw_without_rendering()  # fixes the layout, so that places in pixels are known
    border = axes.get_window_extent()
    edges = np.array([border.x0, border.y0, border.x1, border.y1])
    dots = axes.transData.transform([*(point for _, point in marked), *large, *lines])
    reach = np.repeat([5.0, 9.0, 2.0], [len(marked), len(large), len(lines)])[:, None]
    taken = np.concatenate([dots - reach, dots + reach], axis=1)
    for name, point in sorted(marked, key=lambda item: -item[1][1]):
        label = axes.annotate(
            _short(name, 34), point, xytext=(0, 0), textcoords="offset points", fontsize=8,
            fontweight="bold" if name in bold else "normal",
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3},
        )  # fmt: skip
        box, spot = label.get_window_extent(), axes.transData.transform(point)
        corners = spot + _offsets(box.width, box.height)
        boxes = np.concatenate([corners, corners + box.size], axis=1)
        covered = _overlaps(boxes, taken).sum(axis=1)
        covered += 1e9 * ((boxes[:, :2] < edges[:2]) | (boxes[:, 2:] > edges[2:])).any(axis=1)
        best = int(covered.argmin())
        taken = np.concatenate([taken, boxes[best : best + 1]])
        x, y = (corners[best] - spot) * 72.0 / figure.dpi
        label.set_position((float(x), float(y)))


def _offsets(width: float, height: float) -> Floats:
    """Places ``[K, 2]`` of a box around a point, in pixels to its lower left corner, nearest first."""
    places: list[Point] = []
    for reach in (7.0, 12.0, 18.0, 28.0, 42.0, 60.0, 80.0, 105.0):
        aside = 0.7 * reach
        places += [(reach, -height / 2), (-reach - width, -height / 2), (-width / 2, reach), (-width / 2, -reach - height)]
        places += [(aside, aside), (aside, -aside - height), (-aside - width, aside), (-aside - width, -aside - height)]
    return np.array(places)


def _overlaps(boxes: Floats, others: Floats) -> Floats:
    """Areas ``[K, T]`` that boxes ``[K, 4]`` (left, bottom, right, top) share with ``others`` [T, 4]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared: Floats = np.clip(high - low, 0.0, None).prod(axis=2)
    return shared


def _short(name: str, most: int) -> str:
    """The name without its vendor's folder, cut where it is long; ``$`` would start a formula."""
    last = name.rsplit("/", 1)[-1].replace("$", r"\$")
    return last if len(last) <= most else last[: most - 1] + "…"
