"""What a serving router counts, in Prometheus's form.

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
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class CacheCounts(Collector):
    """Hits and misses of all routers that were ever in service; ``totals`` returns them."""

    def __init__(self) -> None:
        self.sources: list[Callable[[], tuple[int, int]]] = []

    def collect(self) -> Iterator[Metric]:
        totals = [source() for source in self.sources]
        for place, name in enumerate(("hits", "misses")):
            family = CounterMetricFamily(f"auto_router_cache_{name}", f"Embedding cache {name}")
            family.add_metric([], sum(total[place] for total in totals))
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
        self.encoder_up = Gauge("auto_router_encoder_up", "1 while the encoder answers", registry=registry)
        self.answers = Counter("auto_router_answers", "Who answered", ["chosen", "answered"], registry=registry)
        self.refusals = Counter("auto_router_refusals", "Requests that are not routed", ["call"], registry=registry)
        self.cache = CacheCounts()
        registry.register(self.cache)

    def exposition(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self.registry)


@lru_cache(maxsize=1)
def process_metrics() -> Metrics:
    """Return the measures of this process, which stand beside its server's own in the default registry."""
    return Metrics()
