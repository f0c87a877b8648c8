"""The LiteLLM proxy under load while what the router stands on fails. See ``test_litellm``, where endpoints fail."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("litellm") is None:
    pytest.skip("the LiteLLM proxy is in an environment of its own: make test-litellm", allow_module_level=True)

import yaml

from tests.checkout import ROOT
from tests.serve.endpoints import serving
from tests.serve.processes import running
from tests.serve.storm import Storm, Told, assert_counted

KEY = "sk-for-tests-only"
NAMES = ["math", "poet", "eyes"]


def told(raw: Any) -> Told:
    return raw.headers["x-auto-router-model"], raw.headers["x-auto-router-reason"]


def test_faults_under_load_cost_fallbacks_and_nothing_else(tmp_path: Path) -> None:
    storm, example = Storm(tmp_path), ROOT / "examples" / "litellm"
    config = yaml.safe_load((example / "config.yaml").read_text())
    callback = (example / "router_callback.py").read_text().replace("RouterHook(", "RouterHook(timeout_s=1.0,", 1)
    (tmp_path / "router_callback.py").write_text(callback)
    with serving(*NAMES) as endpoints, storm.service() as first:
        storm.save(NAMES)
        config["model_list"] = [
            {"model_name": name, "litellm_params": {"model": f"openai/{name}", "api_base": endpoint.url, "api_key": "none"}}
            for endpoint in endpoints
            for name in ([endpoint.name, "auto"] if endpoint is endpoints[0] else [endpoint.name])
        ]
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        command = ["examples/litellm/run.sh", str(tmp_path / "config.yaml")]
        environment = storm.environment | {"LITELLM_MASTER_KEY": KEY}
        with running(command, "/health/liveliness", tmp_path / "log", environment) as proxy:
            seen = asyncio.run(storm.blow(f"{proxy.url}/v1", KEY, told, first, ["poet", "math", "eyes"]))
            headers = {"Authorization": f"Bearer {KEY}"}
            assert_counted(seen, proxy.ask("GET", "/auto_router/metrics", headers=headers)[1].decode())
    assert sum(len(endpoint.bodies) for endpoint in endpoints) == seen.total()
