"""The model card, ``README.md`` beside every artifact: what it is, what of, how good, its limits, and how to load it."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from auto_router.artifacts import Artifact
from auto_router.assess import headline, tables
from auto_router.data.label_stats import ALL_MODELS, describe_sources, doubt_labels
from auto_router.data.pool import ModelFacts
from auto_router.errors import printable

CARD_NAME = "README.md"

CARD = """# Router for {count} models

`nn_router.pth` predicts, from a prompt and its pictures alone, which of {count} models would answer right, and sends it to
the one that the settings prefer. `report.html`, beside this card, shows it in charts; `metrics.json` holds every measure.

## How to load it

```python
from auto_router import ModelRouter

router = ModelRouter("nn_router.pth")
print(router.route("Explain quantum computing"))
```

The file holds tensors and plain values, and opening it runs no code. It needs the encoder it was trained with:
{encoder}. The `.joblib` files are for people and notebooks: open them only if you made them.

## Data and labels

{records} test records in {groups} groups, held out by group; sha256 of the training data `{train}`, of the test data `{test}`;
seed {seed}. A label is how right a model's answer was, 0 to 1; unknown ones count nowhere.

{sources}{labels}

## How good it is

**{sentence}**

**{worth}** (on the test set; 95 % intervals by bootstrap over groups){unlabelled}.

{headline}

The router minus the best single model: {difference}. Mean AUC {auc}, mean ECE {ece}; calibration: {calibration}.

{points}{latency}
## Limits

- It knows prompts like those it was trained on. Most others are detected and go to {default} (reason `unfamiliar`).
{conversations}
- It ranks models by how they were labelled: mistakes of the judge and of the references are learned too.
- A model that changes behind its name makes the numbers above untrue; collect new labels and train again.
- Costs are those of training time{costs}.
{shared}- It says nothing about safety or tone of the answers{speed}.
"""


def model_card(artifact: Artifact) -> str:
    """Return the card as Markdown, from what the artifact itself holds."""
    training = artifact.training
    metrics, system = training.metrics, training.metrics["system"]
    encoder = artifact.encoder
    said = f"{training.conversations:,} training records came with what was said before."
    said = said if training.conversations else SINGLE_PROMPTS
    known = {key: encoder[key] for key in ("backend", "model", "text_dim", "image_dim") if encoder.get(key) is not None}
    return CARD.format(
        count=len(artifact.model_names),
        encoder=", ".join(f"{key} {_code(value)}" for key, value in known.items()),
        records=f"{metrics['rows']:,}",
        groups=f"{metrics['groups']:,}",
        train=training.train_sha256[:16],
        test=training.test_sha256[:16],
        seed=training.seed,
        labels=_labels(artifact, metrics),
        sources=_sources(metrics),
        sentence=_escape(headline.describe_worth(artifact)),
        worth=tables.worth_line(system | {"best_single_model": _escape(system["best_single_model"])}),
        unlabelled=tables.unlabelled_note(system),
        headline=_headline(system),
        difference=f"{tables.format_signed(system['router_minus_best_single'])} "
        f"{tables.format_interval(system['router_minus_best_single_interval'], tables.format_signed)}",
        auc=tables.format_number(system["mean_auc"]),
        ece=tables.format_number(system["mean_ece"]),
        calibration=artifact.calibration.method,
        points=_points(artifact, metrics),
        latency=_latency(metrics),
        default=_code(system["best_single_model"]),
        costs="" if system["costs"] else "; none were known",
        shared=_note_shared_rows(metrics),
        speed="" if metrics.get("latency") else ", nor about their speed",
        conversations=f"- {said}",
    )


SINGLE_PROMPTS = (
    "It was trained on single prompts: of a conversation, what came before counts a little and was not learned from."
)


def _note_shared_rows(metrics: Mapping[str, Any]) -> str:
    shared = metrics.get("in_training", {"rows": 0})
    if not shared["rows"]:
        return ""
    return (
        f"- {shared['rows']} of the {metrics['rows']} test records, in {shared['groups']} groups, stand in the training set "
        "too: the figures above flatter the router.\n"
    )


def _sources(metrics: Mapping[str, Any]) -> str:
    """What the labels rest on, and how far each check of them agrees, over all models."""
    found = metrics.get("labels")
    if found is None:
        return ""
    lines = [f"What the labels rest on: {describe_sources(found['sources'])}."]
    for line in found["trust"]:
        if line["model"] == ALL_MODELS or len(metrics["models"]) == 1:
            low, high = (tables.format_percent(bound) for bound in line["interval"])
            lines.append(
                f"Of {line['cases']:,} answers that the check '{line['check']}' saw too, {line['agreement']:.1%} ({low} to "
                f"{high}) have the same label; {line['kind']:,} labels were too kind and {line['strict']:,} too strict."
            )
    doubt = doubt_labels(found["sources"], found["trust"])
    return " ".join([*lines, *([f"{doubt}."] if doubt else [])]) + "\n\n"


def _labels(artifact: Artifact, metrics: Mapping[str, Any]) -> str:
    rows = []
    for name, model in metrics["per_model"].items():
        takes = ", ".join(artifact.facts.get(name, ModelFacts()).modalities or ["not stated"])
        cost = None if model["mean_cost"] is None else 1000 * model["mean_cost"]
        rate, auc = tables.format_number(model["positive_rate"]), tables.format_number(model["auc"])
        rows.append([name, takes, model["known"], rate, tables.format_usd(cost), auc])
    headers = ["model", "takes", "labels", "share right", "USD per 1,000 prompts", "AUC of P"]
    return _markdown(rows, headers)


def _headline(system: dict[str, Any]) -> str:
    costs = {name: 1000 * cost for name, cost in (system["costs"] or {}).items() if cost is not None}
    kinds = [("router", "router"), (f"best single ({system['best_single_model']})", "best_single"), ("random", "random")]
    rows = [
        [
            title,
            tables.format_number(system[key]),
            tables.format_interval(system[f"{key}_interval"]),
            tables.format_usd(costs.get(key)),
        ]
        for title, key in [*kinds, ("oracle", "oracle")]
    ]
    return _markdown(rows, ["who answers", "accuracy", "95 %", "USD per 1,000 prompts"])


def _points(artifact: Artifact, metrics: Mapping[str, Any]) -> str:
    found = metrics["operating_points"]
    if not found:
        return ""
    rows = []
    for name, point in found.items():
        fitted = artifact.operating_points[name]
        evidence = fitted.evidence
        kept, saved = (
            f"{tables.format_percent(point[key])} {tables.format_interval(point[f'{key}_interval'], tables.format_percent)}"
            for key in ("quality_kept", "cost_saved")
        )
        gain = tables.with_error(evidence.get("gain"), evidence.get("standard error"), tables.format_signed)
        rows.append(
            [_code(name), fitted.aim, kept, saved, tables.format_number(point["accuracy"]), gain, tables.describe_share(fitted)]
        )
    headers = ["operating point", "aim", "quality kept", "cost saved", "accuracy", "gain in training", "cost share there"]
    return _markdown(rows, headers) + "\n\n"


def _latency(metrics: Mapping[str, Any]) -> str:
    rows = tables.latency_rows(metrics)
    if not rows:
        return ""
    return (
        "How long the recorded answers took, in seconds, beside what they are worth; the router's own time is not in it:\n\n"
        f"{_markdown(rows, list(tables.LATENCY_HEADERS))}\n"
    )


def _markdown(rows: list[list[Any]], headers: list[str]) -> str:
    """A table; what a name holds must not end its cell, nor become a link, an image or HTML."""
    safe = [[_escape(str(cell)) for cell in row] for row in rows]
    return str(tabulate(safe, headers=headers, tablefmt="pipe", disable_numparse=True))


def _escape(text: str) -> str:
    """Return words of an artifact, which may be a stranger's, as Markdown that shows them as they are."""
    return re.sub(r"([\\|\[\]])", r"\\\1", html.escape(printable(text), quote=False))


def _code(text: object) -> str:
    """Return words as code; they cannot end it."""
    return "`" + printable(str(text)).replace("`", "'") + "`"
