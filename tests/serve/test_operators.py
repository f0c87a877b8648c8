"""What operators see: spans, log lines and the Grafana board; nothing of a prompt."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from auto_router.data.request import Request
from auto_router.decide.policy import RouterSettings
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.errors import ConfigError
from auto_router.serve import live, monitoring
from auto_router.serve.monitoring import FORMAT_VARIABLE, JsonLines, Metrics, keep_prompts_out, set_up_log
from auto_router.serve.service import DecisionService
from tests.checkout import ROOT
from tests.fakes import LetterEncoder
from tests.serve.test_service import save

SECRET = "x the password is swordfish"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DecisionService]:
    monkeypatch.setattr(live, "open_encoder", lambda *given, **more: EmbeddingGenerator(LetterEncoder()))
    found = DecisionService(RouterSettings(str(save(tmp_path / "nn_router.pth"))), Metrics(CollectorRegistry()))
    found.open()
    yield found
    found.close()


def test_a_decision_is_a_span_under_the_hosts(service: DecisionService, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="no OpenTelemetry here")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace.get_tracer", provider.get_tracer)
    host = provider.get_tracer("host").start_span("request")
    served = asyncio.run(service.decide(Request(SECRET), span=host))
    spans: Any = exporter.get_finished_spans()
    (span,) = spans
    assert (span.name, span.parent.span_id) == ("auto_router.decide", host.get_span_context().span_id)
    assert span.attributes["auto_router.id"] == served.id
    assert span.attributes["auto_router.model"] == served.decision.model
    assert span.attributes["auto_router.seconds.encoder"] >= 0
    assert "swordfish" not in str(dict(span.attributes))


def test_without_opentelemetry_decisions_are_the_same(service: DecisionService, monkeypatch: pytest.MonkeyPatch) -> None:
    with_it = asyncio.run(service.decide(Request(SECRET)))
    monkeypatch.setattr(monitoring, "trace", None)
    assert asyncio.run(service.decide(Request(SECRET))) == with_it


@pytest.fixture
def logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    found = logging.getLogger("auto_router")
    before = found.handlers[:], found.propagate, found.level
    yield found
    found.handlers[:], found.propagate = before[:2]
    found.setLevel(before[2])


def test_log_lines_are_json_where_that_is_asked_for(
    service: DecisionService, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    set_up_log()
    set_up_log()
    served = asyncio.run(service.decide(Request(SECRET)))
    asyncio.run(service.refuse("no_prompt"))
    try:
        raise ValueError("a bug")
    except ValueError:
        logger.exception("it failed")
    first, second, third = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (first["id"], first["model"], first["level"]) == (served.id, "big", "INFO")
    assert 0 < first["p"] < 1
    assert (second["reason"], second["p"]) == ("no_prompt", None)
    assert "a bug" in third["traceback"]
    assert "swordfish" not in str(first)


def test_an_unknown_format_is_refused(logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORMAT_VARIABLE, "xml")
    with pytest.raises(ConfigError, match="text, json"):
        set_up_log()


def test_a_prompt_in_a_json_line_is_one_value() -> None:
    record = logging.LogRecord("auto_router.x", logging.INFO, "", 0, "%s", ("a\nb",), None)
    record.auto_router = {"prompt": 'say "hi"\n\ud800'}
    (line,) = JsonLines().format(record).splitlines()
    assert json.loads(line)["prompt"] == 'say "hi"\n\ud800'


def test_the_board_shows_measures_that_there_are() -> None:
    board: dict[str, Any] = json.loads((ROOT / "examples" / "grafana" / "auto_router.json").read_text(encoding="utf-8"))
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(queries) >= len(panels) >= 10
    metrics = Metrics(CollectorRegistry())
    known = {sample for family in metrics.registry.collect() for sample in (family.name, f"{family.name}_total")}
    known |= {f"auto_router_{name}_bucket" for name in ("decision_seconds", "novelty")}
    known |= {f"auto_router_outcome_{part}" for part in ("sum", "count")}
    documented = (ROOT / "auto_router" / "serve" / "monitoring.py").read_text(encoding="utf-8")
    for name in {name for query in queries for name in re.findall(r"auto_router_\w+", query)}:
        assert name in known or f"``{name}``" in documented, name
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places)


def test_errors_in_a_proxys_log_repeat_no_prompt(caplog: pytest.LogCaptureFixture) -> None:
    keep_prompts_out()
    keep_prompts_out()
    logger, said = (
        logging.getLogger("LiteLLM Router"),
        "Error while falling back - litellm.AuthenticationError: you asked: secret",
    )
    assert len([found for found in logger.filters if type(found).__name__ == "_ErrorNames"]) == 1
    before = logger.level
    try:
        logger.setLevel(logging.INFO)
        try:
            raise ValueError("secret")
        except ValueError:
            logger.exception("%s", said)
        logger.warning("odd %s\nsecret", 1)
        logger.info("told on purpose")
        assert [record.getMessage() for record in caplog.records] == [
            "Error while falling back - litellm.AuthenticationError", "odd 1", "told on purpose",
        ]  # fmt: skip
        assert "secret" not in caplog.text
        logger.setLevel(logging.DEBUG)
        logger.error(said)
        assert caplog.records[-1].getMessage() == said
    finally:
        logger.setLevel(before)


WORKER = """
import sys
from auto_router.serve.monitoring import process_metrics

metrics = process_metrics()
metrics.state.encoder_answers = lambda: True
metrics.state.cache_counts.append(lambda: (3, 4))
for _ in range(int(sys.argv[1])):
    metrics.decisions.labels("math", "best").inc()
    metrics.seconds.observe(0.02)
print(metrics.exposition().decode())
"""


def test_workers_that_share_a_folder_tell_the_sum(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WORKER]
    said = ""
    for number in ("2", "5"):
        said = subprocess.run([*command, number], env=environment, capture_output=True, text=True, check=True).stdout
    assert 'auto_router_decisions_total{model="math",reason="best"} 7.0' in said
    assert "auto_router_decision_seconds_count 7.0" in said
    assert "auto_router_encoder_up 1.0" in said
    assert "auto_router_cache_misses_total 4.0" in said, "of the worker that answers"
    names = [line.split("{")[0].split(" ")[0] for line in said.splitlines() if not line.startswith("#")]
    assert names.count("auto_router_encoder_up") == 1
