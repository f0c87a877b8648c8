"""The one command over endpoints that speak the protocols of three vendors: its pool, its environment, and how it is asked."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml

from auto_router.serve.__main__ import main
from tests.checkout import ROOT
from tests.serve.processes import Running, running
from tests.serve.vendors import Vendor

KEY = "sk-for-tests-only"
SERVE = [sys.executable, "-m", "auto_router.serve"]
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"


def write_pool(folder: Path, vendors: Mapping[str, Vendor]) -> Path:
    """Write a pool: ``math`` behind OpenAI's protocol, ``poet`` on Azure, ``eyes`` at Anthropic, and the unknown ``extra``."""
    entries: list[dict[str, Any]] = [
        {"base_url": vendors["math"].url, "model": "math-1", "timeout_s": 2, "parameters": {"top_p": 0.9, "max_tokens": None}},
        {
            "base_url": f"http://127.0.0.1:{vendors['poet'].port}",
            "model": "poet-1",
            "api_version": "2024-10-21",
            "timeout_s": 2,
        },
        {"base_url": "https://api.anthropic.com/v1", "model": "claude-eyes", "modalities": ["text", "image"], "timeout_s": 2},
        {"base_url": vendors["extra"].url, "temperature": 0.25, "timeout_s": 2},
    ]
    for entry, name in zip(entries, vendors, strict=True):
        entry |= {"name": name, "api_key_env": f"{name.upper()}_KEY", "input_usd_per_mtok": 2, "output_usd_per_mtok": 8}
    file = folder / "pool.yaml"
    file.write_text(yaml.safe_dump({"models": entries}))
    return file


def vendor_environment(artifact: Path, vendors: Mapping[str, Vendor]) -> dict[str, str]:
    """Return what a server of the pool needs in its environment: the artifact, the keys, and where Anthropic is."""
    keys = {f"{name.upper()}_KEY": vendor.key for name, vendor in vendors.items()}
    eyes = f"http://127.0.0.1:{vendors['eyes'].port}"
    return {"AUTO_ROUTER_PATH": str(artifact), "ANTHROPIC_API_BASE": eyes, "PYTHONPATH": str(ROOT), **keys}


@contextmanager
def environment_of(values: dict[str, str]) -> Iterator[None]:
    """Run the block with these values, and without what the caller's environment says of the router or the proxy."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("AUTO_ROUTER", "LITELLM")) or name.endswith("_KEY"):
                patch.delenv(name)
        for name, value in values.items():
            patch.setenv(name, value)
        yield


def print_config(pool: Path, environment: dict[str, str]) -> str:
    """Return what ``--print-config`` prints."""
    with environment_of(environment), redirect_stdout(io.StringIO()) as printed:
        main(["--pool", str(pool), "--print-config"])
    return printed.getvalue()


@contextmanager
def own_proxy(config: dict[str, Any], folder: Path, environment: dict[str, str]) -> Iterator[Running]:
    """Run a user's own proxy on a configuration, without a pause for models that failed."""
    config.setdefault("router_settings", {})["disable_cooldowns"] = True
    (folder / "litellm.yaml").write_text(yaml.safe_dump(config))
    command = ["examples/litellm/run.sh", str(folder / "litellm.yaml")]
    with running(command, "/health/liveliness", folder / "log", environment | {"LITELLM_MASTER_KEY": KEY}) as found:
        yield found


def post(
    server: Running, route: str, body: dict[str, Any], key: str | None = None, **headers: str
) -> tuple[int, str, dict[str, str]]:
    """Return status, body and headers of an answer."""
    shown = headers | ({"Authorization": f"Bearer {key}"} if key else {})
    status, said, found = server.ask("POST", route, body, shown)
    return status, said.decode(), found


def chat(text: Any, model: str = "auto", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def in_api(route: str, text: str, **more: Any) -> dict[str, Any]:
    """Return a request for ``auto`` as the API of ``route`` has it."""
    if route == "responses":
        return {"model": "auto", "input": text, **more}
    return chat(text, max_tokens=9, **more) if route == "messages" else chat(text, **more)
