"""The report: one HTML page that holds all it shows, for people who would rather look than read. Stage 3 writes it.

    python -m auto_router.assess.report                       # of router_artifacts/ and the hf_* files here
    python -m auto_router.assess.report --artifacts router_artifacts --test-json hf_evaluations_test.json \\
        --test-embeddings hf_test_embeddings.npy --train-json hf_evaluations_train.json --output report.html
    python -m auto_router.assess.report --without-prompts     # to show to others: no prompt and no image in it
    python -m auto_router.assess.report --learning-curve --rewordings 200     # two more sections, measured now

The page loads nothing: script, style, charts (Bokeh), numbers and thumbnails are inside it, and its content security policy
forbids the rest. Every measure is printed from ``metrics.json`` with its place there (``data-metric``). The learning curve and
the rewordings need the encoder and a dozen fits, so they are measured only where they are asked for.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tabulate import tabulate

from auto_router.artifacts import Artifact, load_artifact
from auto_router.assess import headline, tables
from auto_router.assess.explorer import find_wrongly_routed, pack
from auto_router.assess.health import data_health
from auto_router.assess.learning_curve import (
    CURVE_HEADERS,
    LearningCurve,
    curve_advice,
    curve_lines,
    curve_rows,
    learning_curve,
)
from auto_router.assess.rewordings import (
    REWORDING_HEADERS,
    RewordingEffect,
    describe_rewordings,
    measure_rewordings,
    rewording_rows,
)
from auto_router.assess.test_set import TestSet
from auto_router.data.dataset import Dataset, load_dataset
from auto_router.data.label_stats import describe_sources, doubt_labels
from auto_router.data.records import Record, iter_records
from auto_router.encode.factory import reopen_encoder
from auto_router.errors import ConfigError, DataError, advise_install, run
from auto_router.files import atomic_path
from auto_router.terminal import Parser

PAGE_FOLDER = Path(__file__).with_name("page")
REPORT_NAME = "report.html"
MAX_PARTS = 30  # rows of a breakdown

FORMS = {
    "number": tables.format_number,
    "signed": tables.format_signed,
    "percent": tables.format_percent,
    "points": lambda value: f"{100 * value:+.1f}",
    "seconds": lambda value: f"{value:.2f}",
    "count": lambda value: f"{value:,}",
    "per_1000": lambda value: f"{1000 * value:.4g}",
}


def report_page(
    artifact: Artifact,
    train: Sequence[Record],
    held_out: TestSet,
    test: Dataset,
    with_prompts: bool = True,
    curve: LearningCurve | None = None,
    rewordings: Sequence[RewordingEffect] = (),
) -> str:
    """Return the page of an artifact whose ``training`` holds its metrics.

    Args:
        artifact: as Stage 3 made it.
        train: the training records, slim ones, for the data's health.
        held_out: the test rows that were assessed, as they were decided.
        test: the data set that they are of.
        with_prompts: False leaves out the prompts, references and images of wrongly routed records.
        curve: of the training rows; None: not measured.
        rewordings: of some test rows; empty: not measured.

    Raises:
        ConfigError: Bokeh or Jinja is not installed.
        DataError: the rows are not those of the metrics.
    """
    metrics, names, training = artifact.training.metrics, list(artifact.model_names), artifact.training
    if not metrics or metrics["rows"] != len(test) or metrics["models"] != names:
        raise DataError("the artifact holds no metrics of these test records and models; train it again with nn_router.py")
    best_single = names.index(metrics["system"]["best_single_model"])
    explorer = pack(held_out, best_single, artifact.operating_points, training.seed)
    explorer |= {"served": {**training.policy, "operating_point": artifact.policy.operating_point}}
    read = test.file.read if with_prompts and test.file is not None else None
    return _render(
        metrics=metrics,
        explorer=explorer,
        wrong=find_wrongly_routed(held_out, test.records, read),
        health=data_health(train, test.records, names, held_out.prediction.novelty),
        artifact=artifact,
        curve=curve,
        rewordings=rewordings,
    )


def check_packages() -> None:
    """Raise ConfigError where a package is missing that the report needs: before hours of work, not after."""
    missing = [name for name in ("bokeh", "jinja2") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"the report needs {' and '.join(missing)}: {advise_install('train')}")


def write_report(path: Path, page: str) -> None:
    """Write the page, whole or not at all."""
    # A lone surrogate, which prompts can hold, has no UTF-8 form; within the page's JSON the replacement is its escape.
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def _render(
    metrics: Mapping[str, Any],
    artifact: Artifact,
    curve: LearningCurve | None,
    rewordings: Sequence[RewordingEffect],
    **data: Any,
) -> str:
    check_packages()
    import bokeh
    from bokeh.core.types import ID
    from bokeh.embed import json_item
    from bokeh.resources import Resources
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from auto_router.assess.charts import charts, measured_later

    environment = Environment(
        loader=FileSystemLoader(PAGE_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False, "separators": (",", ":")}
    trials = artifact.training.search
    figures = charts(metrics, trials) | measured_later(curve, rewordings)
    items = {place: json_item(figure, ID(place)) for place, figure in figures.items()}
    library = Resources(mode="inline", components=["bokeh"]).js_raw[0]  # the figures use no widgets, tables or formulas
    scripts = [library, (PAGE_FOLDER / "explorer.js").read_text("utf-8"), (PAGE_FOLDER / "page.js").read_text("utf-8")]
    return environment.get_template("report.html.jinja").render(
        m=metrics,
        training=artifact.training,
        encoder=artifact.encoder,
        points=artifact.operating_points,
        trials=trials,
        charts=sorted(figures),
        scripts=scripts,
        hashes=[f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts],
        style=(PAGE_FOLDER / "page.css").read_text("utf-8"),
        bokeh_version=bokeh.__version__,
        most_parts=MAX_PARTS,
        label_sources=describe_sources(metrics["labels"]["sources"]) if "labels" in metrics else "",
        label_doubt=doubt_labels(metrics["labels"]["sources"], metrics["labels"]["trust"]) if "labels" in metrics else "",
        unknown=tables.DASH,
        forms=FORMS,
        at=lambda place: _at(metrics, place),
        data=data | {"charts": items},
        worth=headline.worth_sentences(artifact),
        next_steps=[*([] if curve is None else map(_sentence, curve_advice(curve))), *headline.suggest_next(artifact)],
        curve=curve and {"headers": CURVE_HEADERS, "rows": curve_rows(curve), "says": _sentence(curve_advice(curve)[0])},
        rewordings=rewordings
        and {"headers": REWORDING_HEADERS, "rows": rewording_rows(rewordings), "says": describe_rewordings(rewordings)},
        **{name: data[name] for name in ("wrong", "health", "explorer")},
    )


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}."


def _at(metrics: Mapping[str, Any], place: Sequence[str | int]) -> Any:
    """Return the value at a place such as ``("system", "router_interval", 0)``; None where a part of it is None."""
    value: Any = metrics
    for step in place:
        if value is None:
            return None
        value = value[step]
    return value


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog="auto-router report", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("router_artifacts"), help="folder of nn_router.pth")
    parser.add_argument("--train-json", type=Path, default=Path("hf_evaluations_train.json"))
    parser.add_argument("--test-json", type=Path, default=Path("hf_evaluations_test.json"))
    parser.add_argument("--test-embeddings", type=Path, default=Path("hf_test_embeddings.npy"))
    parser.add_argument("--train-embeddings", type=Path, default=Path("hf_train_embeddings.npy"), help="for --learning-curve")
    parser.add_argument("--learning-curve", action="store_true", help="fit a dozen routers: would more labels help?")
    parser.add_argument(
        "--rewordings", type=int, default=0, metavar="PROMPTS", help="reword so many test prompts: do the choices stay?"
    )
    parser.add_argument("--output", type=Path, help=f"default: {REPORT_NAME} beside the artifact")
    parser.add_argument("--without-prompts", action="store_true", help="leave prompts, answers and pictures out")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    artifact = load_artifact(arguments.artifacts / "nn_router.pth")
    test = load_dataset(
        arguments.test_embeddings, "test", arguments.test_json, artifact.model_names, artifact.facts,
        bool(artifact.prompt_features),
    )  # fmt: skip
    if test.file is None or artifact.training.test_sha256 != test.file.sha256:
        raise DataError(f"{arguments.test_json} is not the file this router was assessed on; give that one, or train again")
    path = arguments.output or arguments.artifacts / REPORT_NAME
    train, policy = [record.slim() for record in iter_records(arguments.train_json)], artifact.policy
    curve = _measure_curve(arguments, artifact) if arguments.learning_curve else None
    rewordings = _measure_rewordings(artifact, test, arguments.rewordings) if arguments.rewordings > 0 else ()
    held_out = TestSet.of(test, artifact.predict(test.features, test.prompts), policy)
    page = report_page(artifact, train, held_out, test, not arguments.without_prompts, curve, rewordings)
    write_report(path, page)
    print(f"wrote {path.resolve()} ({path.stat().st_size / 1e6:.1f} MB)")


def _measure_curve(arguments: argparse.Namespace, artifact: Artifact) -> LearningCurve:
    data = load_dataset(arguments.train_embeddings, "train", arguments.train_json, artifact.model_names, artifact.facts)
    curve = learning_curve(data, artifact.training.seed)
    print("\n".join(curve_lines(curve)))
    return curve


def _measure_rewordings(artifact: Artifact, test: Dataset, rows: int) -> Sequence[RewordingEffect]:
    with closing(reopen_encoder(artifact.encoder)) as generator:
        generator.check(artifact.encoder)
        effects = measure_rewordings(artifact, artifact.policy, test, generator, rows)
    print(tabulate(rewording_rows(effects), headers=REWORDING_HEADERS, disable_numparse=True))
    print(describe_rewordings(effects))
    return effects


if __name__ == "__main__":
    sys.exit(run(main))
