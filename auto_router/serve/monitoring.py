"""What operators see of a serving router: counts in Prometheus's form, log lines, and spans.

| name | labels | what |
|---|---|---|
| ``auto_router_decisions_total`` | ``model``, ``reason`` | decisions, those of the fallback included |
| ``auto_router_sessions_total`` | ``outcome`` | decisions in conversations: ``new``, ``kept``, ``switched``, ``pinned``, ... |
| ``auto_router_fallbacks_total`` | ``cause`` | decisions that the router could not make: the fallback was chosen |
| ``auto_router_decision_seconds`` | | how long a decision took |
| ``auto_router_cache_hits_total``, ``auto_router_cache_misses_total`` | | prompts whose embedding was remembered, or not |
| ``auto_router_unseen_pictures_total`` | | pictures that could not be read here (a URL, a broken file) |
| ``auto_router_artifact_loads_total`` | ``outcome`` | artifacts put in service (``loaded``) or refused (``failed``) |
| ``auto_router_encoder_up`` | | 1 while the encoder answers |
| ``auto_router_refusals_total`` | ``call`` | LiteLLM: requests for ``auto`` of a kind that is not routed (embeddings, …) |
| ``auto_router_answers_total`` | ``chosen``, ``answered`` | LiteLLM: which model answered instead of which; ``none``: nobody |
| ``auto_router_upstream_errors_total`` | ``model``, ``status`` | LiteLLM: errors of models while ``auto`` was answered |
| ``auto_router_feedback_total`` | ``result`` | outcomes told: ``kept``, ``corrected``, ``repeated``, ``unknown``, … |
| ``auto_router_outcome_sum``, ``auto_router_outcome_count`` | ``model`` | first outcomes; their mean is the share right |
| ``auto_router_shadow_total`` | ``result`` | LiteLLM, shadow mode: ``asked``, then ``judged`` or ``unknown``; ``dropped``, … |
| ``auto_router_shadow_usd_total`` | | LiteLLM, shadow mode: USD spent |
| ``auto_router_novelty`` | | how far prompts are from training; above 1 is unfamiliar |
| ``auto_router_drift_alarms`` | | figures of the last decisions that are out of the ordinary |
| ``auto_router_unfamiliar_share``, ``auto_router_expected_unfamiliar_share`` | | of the last decisions, and in training |
| ``auto_router_mean_probability``, ``auto_router_expected_probability`` | ``model`` | the same of P(correct) |

Where ``PROMETHEUS_MULTIPROC_DIR`` names a folder, every worker process of a server writes its counts there, and whichever is
asked tells the sum. The cache, the encoder and the drift are those of the worker that answers.

Log lines of this package are for people, or JSON with ``AUTO_ROUTER_LOG_FORMAT=json``. A vendor's error may repeat the prompt,
and LiteLLM logs errors whole: :func:`keep_prompts_out` cuts them at the error's name. A decision's line has ``id``, ``model``,
``reason``, ``p`` and ``ms``; a prompt stands in it only with ``log_prompts``.

A span ``auto_router.decide`` is made for each decision, through the tracing that the host has set up (OpenTelemetry). Where
opentelemetry is not installed, or nothing exports spans, nothing is done. No prompt is put into a span.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, Summary, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from auto_router.arrays import finite
from auto_router.decide.rule import Decision
from auto_router.errors import ConfigError
from auto_router.route.drift import DriftReport

try:
    from opentelemetry import trace
except ImportError:  # optional: it comes with the hosts that have it
    trace = None  # type: ignore[assignment]

SPAN = "auto_router.decide"
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
NOVELTIES = (0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)
FORMAT_VARIABLE = "AUTO_ROUTER_LOG_FORMAT"
LOG_FORMATS = ("text", "json")
FIELDS_OF = "auto_router"
"""The attribute of a log record that holds what its line says, as values."""
PROXY_LOGGERS = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")
MAX_LINE = 300  # characters of a line that names no error
_ERROR_NAME = re.compile(r"\b(?:litellm\.)?[A-Z]\w*(?:Error|Exception)\b")


class RouterState(Collector):
    """What the routers in service are asked when somebody looks: hits and misses of all caches there ever were, whether the
    encoder answers, and the drift report (None: no artifact is open).
    """

    def __init__(self) -> None:
        self.cache_counts: list[Callable[[], tuple[int, int]]] = []
        self.encoder_answers: Callable[[], bool] = lambda: False
        self.drift: Callable[[], DriftReport | None] = lambda: None

    def collect(self) -> Iterator[Metric]:
        counts = np.sum([(0, 0), *(source() for source in self.cache_counts)], axis=0)
        for name, count in zip(("hits", "misses"), counts.tolist(), strict=True):
            yield CounterMetricFamily(f"auto_router_cache_{name}", f"Embedding cache {name}", value=count)
        yield GaugeMetricFamily("auto_router_encoder_up", "1 while the encoder answers", value=float(self.encoder_answers()))
        report = self.drift()
        if report is None:
            return
        shares = {"unfamiliar_share": report.unfamiliar, "expected_unfamiliar_share": report.expected_unfamiliar}
        for name, value in {"drift_alarms": float(len(report.alarms)), **shares}.items():
            if value is not None:
                yield GaugeMetricFamily(f"auto_router_{name}", f"Drift: {name}", value=value)
        means = {"mean_probability": report.probability, "expected_probability": report.expected_probability}
        for name, values in means.items():
            family = GaugeMetricFamily(f"auto_router_{name}", f"Drift: {name}", labels=["model"])
            for model, p in values.items():
                family.add_metric([model], p)
            yield family


class Metrics:
    """The measures of one process, in one registry."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self.decisions = Counter("auto_router_decisions", "Decisions", ["model", "reason"], registry=registry)
        self.fallbacks = Counter("auto_router_fallbacks", "Decisions of the fallback", ["cause"], registry=registry)
        self.sessions = Counter("auto_router_sessions", "Decisions in conversations", ["outcome"], registry=registry)
        self.seconds = Histogram("auto_router_decision_seconds", "Seconds a decision", buckets=SECONDS, registry=registry)
        self.unseen = Counter("auto_router_unseen_pictures", "Pictures that could not be read here", registry=registry)
        self.loads = Counter("auto_router_artifact_loads", "Artifacts opened", ["outcome"], registry=registry)
        self.answers = Counter("auto_router_answers", "Who answered", ["chosen", "answered"], registry=registry)
        self.refusals = Counter("auto_router_refusals", "Requests that are not routed", ["call"], registry=registry)
        self.upstream = Counter("auto_router_upstream_errors", "Errors of models", ["model", "status"], registry=registry)
        self.feedback = Counter("auto_router_feedback", "Outcomes told", ["result"], registry=registry)
        self.outcomes = Summary("auto_router_outcome", "First outcomes, 0 to 1", ["model"], registry=registry)
        self.shadow = Counter("auto_router_shadow", "Pairs of the shadow mode", ["result"], registry=registry)
        self.shadow_usd = Counter("auto_router_shadow_usd", "USD spent by the shadow mode", registry=registry)
        self.novelty = Histogram("auto_router_novelty", "Distance from training", buckets=NOVELTIES, registry=registry)
        self.state = RouterState()
        registry.register(self.state)

    def exposition(self) -> bytes:
        """Return the text that Prometheus reads, of all workers where these share a folder."""
        folder = os.environ.get(SHARED_FOLDER)
        if not folder:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        registry.register(self.state)
        return generate_latest(registry)


@lru_cache(maxsize=1)
def process_metrics() -> Metrics:
    """Return the measures of this process, which stand beside its server's own in the default registry."""
    return Metrics()


class _ErrorNames(logging.Filter):
    """Keeps of a warning or an error what names it; all of it where a logger is to tell everything (``LITELLM_LOG=DEBUG``)."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING and not logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            text = record.getMessage()
            found = _ERROR_NAME.search(text)
            kept = text[: found.end()] if found else text.split("\n", 1)[0]
            record.msg, record.args = kept[:MAX_LINE], ()
            record.exc_info = record.exc_text = record.stack_info = None
        return True


def keep_prompts_out() -> None:
    """Keep what errors repeat of prompts out of the log of a LiteLLM proxy in this process."""
    for name in PROXY_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(found, _ErrorNames) for found in logger.filters):
            logger.addFilter(_ErrorNames())


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, and the values of the line."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: finite(value) for name, value in getattr(record, FIELDS_OF, {}).items()},
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str)


def set_up_log() -> None:
    """Let this package's log lines reach stderr: as JSON where that is asked for, else where its server has no logging.

    Raises:
        ConfigError: the format is unknown.
    """
    wanted, logger = os.environ.get(FORMAT_VARIABLE) or "text", logging.getLogger("auto_router")
    if wanted not in LOG_FORMATS:
        raise ConfigError(f"{FORMAT_VARIABLE} must be one of {', '.join(LOG_FORMATS)}, got {wanted!r}")
    if any(isinstance(handler.formatter, JsonLines) for handler in logger.handlers):
        return
    if wanted == "text" and logger.hasHandlers():
        return
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if wanted == "json" else plain)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = wanted == "text"  # else the host would print each line once more


@contextmanager
def decision_span(parent: Any = None) -> Iterator[Any]:
    """Yield the span of a decision, under ``parent`` or else the current one; None where there is no tracing."""
    if trace is None:
        yield None
        return
    context = None if parent is None else trace.set_span_in_context(parent)
    with trace.get_tracer("auto_router").start_as_current_span(SPAN, context=context) as span:
        yield span


def describe_span(span: Any, id: str, decision: Decision) -> None:
    """Say in a span what was decided."""
    if span is None or not span.is_recording():
        return
    values = {
        "id": id,
        "model": decision.model,
        "reason": decision.reason,
        "ranking": list(decision.ranking),
        "probability": decision.probabilities.get(decision.model),
        "cost": decision.cost,
        "novelty": decision.novelty,
        "session": decision.session,
        **{f"seconds.{name}": value for name, value in decision.timings.items()},
    }
    span.set_attributes({f"auto_router.{name}": value for name, value in values.items() if value is not None})
