"""The toolkit's server under load while what it stands on fails. See ``test_nat``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nat", reason="NeMo Agent Toolkit is in an environment of its own: make test-nat")

import yaml

from tests.checkout import ROOT
from tests.serve.processes import running
from tests.serve.storm import Storm, Told, assert_counted


def told(raw: Any) -> Told:
    decision = raw.parse().model_extra["auto_router"]
    return decision["model"], decision["reason"]


def test_faults_under_load_cost_fallbacks_and_nothing_else(tmp_path: Path) -> None:
    storm = Storm(tmp_path)
    config = yaml.safe_load((ROOT / "configs" / "config.yml").read_text())
    config["functions"]["nn_objective_fn"] |= {"timeout_s": 1.0}
    (tmp_path / "config.yml").write_text(yaml.safe_dump(config))
    with storm.service() as first:
        storm.save()
        command = ["scripts/run_local.sh", str(tmp_path / "config.yml")]
        with running(command, "/health", tmp_path / "log", storm.environment) as server:
            names = ["new-math", "new-poet", "new-eyes"]
            seen = asyncio.run(storm.blow(f"{server.url}/sfc_router", "none", told, first, names))
            assert_counted(seen, server.ask("GET", "/metrics")[1].decode())
