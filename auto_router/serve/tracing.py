"""A span ``auto_router.decide`` for each decision, through the tracing that the host has set up (OpenTelemetry).

Where opentelemetry is not installed, or nothing exports spans, nothing is done. No prompt is put into a span.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from auto_router.decide.rule import Decision

try:
    from opentelemetry import trace
except ImportError:  # optional: it comes with the hosts that have it
    trace = None  # type: ignore[assignment]

SPAN = "auto_router.decide"


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
