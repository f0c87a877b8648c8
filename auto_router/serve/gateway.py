"""The router in front of an application in one command: the LiteLLM proxy, configured from the pool and the artifact.

    python -m auto_router.serve --pool pool.yaml

Clients ask for ``auto`` (or ``auto-economy``, …), or for a model of the pool by its name. Nothing is written twice: addresses,
key names and prices come from ``pool.yaml``, the models that ``auto`` chooses among from the artifact. Keys stay in the
environment; the configuration names their variables.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from auto_router.data.pool import Pool, PoolModel
from auto_router.data.request import ALIASES, AUTO
from auto_router.errors import ConfigError, advise_install, needs_extra
from auto_router.serve.middleware import is_loopback

MASTER_KEY = "LITELLM_MASTER_KEY"
COMPROMISED = "1.107.0"
MAX_PORT = 65_535
PROXY_PORT = 4000  # the proxy takes another one by itself where somebody on this machine listens on it, at whatever address
CALLBACK = "auto_router.serve.gateway.router"
AUTO_COMMENT = "# auto and auto-…: whatever model stands here, the router's hook puts the one that it chooses in its place"
ANSWER_LIMITS = ("max_tokens", "max_completion_tokens")  # of Stage 1's answers; a client sets its own
PROXY_ENVIRONMENT = {
    # Nothing is fetched at the start: price lists, headers and presets come with the package.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_TELEMETRY": "False",
    "ORT_DISABLE_TELEMETRY": "1",
    # Less than the 5 s after which uvicorn, and so most local model servers, close an idle connection: a request that is on its
    # way in that moment would fail, and with it the last model of a ranking.
    "AIOHTTP_KEEPALIVE_TIMEOUT": "4",
    # A web page that the user has open may not read answers through his browser, nor is there a page to manage the proxy.
    "LITELLM_CORS_ORIGINS": "http://127.0.0.1",
    "DISABLE_ADMIN_UI": "True",
}
"""What the proxy runs with where the environment does not say otherwise."""


def __getattr__(name: str) -> Any:
    """Open the router when the proxy asks for its callback by ``CALLBACK``, with the settings of the environment."""
    if name != "router":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from auto_router.serve.litellm_hook import RouterHook

    return RouterHook(loopback_only=not os.environ.get(MASTER_KEY))


def usable_models(pool: Pool, environment: Mapping[str, str]) -> tuple[list[PoolModel], list[str]]:
    """Return the models of the pool whose keys are there, and a line for each other one.

    Raises:
        ConfigError: there is none.
    """
    missing = {m.name: m.api_key_env for m in pool.models if m.api_key_env and not environment.get(m.api_key_env)}
    notes = [f"{name} is left out: the environment has no {variable}" for name, variable in missing.items()]
    models = [model for model in pool.models if model.name not in missing]
    if not models:
        raise ConfigError(f"no model of the pool can be asked: {'; '.join(notes)}")
    return models, notes


def usable_judge(pool: Pool, environment: Mapping[str, str]) -> PoolModel:
    """Return the judge that compares answers within a budget. Raises ConfigError where there is none, no key or no price."""
    judge = pool.judge
    if judge is None:
        raise ConfigError("shadow_share has answers judged, and the pool has no judge: add one as 'judge:'")
    if judge.api_key_env and not environment.get(judge.api_key_env):
        raise ConfigError(f"shadow_share has answers judged: set {judge.api_key_env}, the key of the judge {judge.name}")
    if judge.cost(0, 0) is None:
        raise ConfigError(
            f"shadow_share needs the prices of the judge {judge.name}, to keep to shadow_usd_per_day: set input_usd_per_mtok "
            "and output_usd_per_mtok in the pool (0 for free)"
        )
    return judge


def compare_models(models: Sequence[PoolModel], known: Sequence[str]) -> list[str]:
    """Return a line for each model that only the pool or only the artifact has.

    Raises:
        ConfigError: they have none in common.
    """
    names = [model.name for model in models]
    if not set(names) & set(known):
        raise ConfigError(
            f"the pool and the artifact have no usable model in common: {', '.join(names)} there, {', '.join(known)} here; "
            "give the pool that the artifact was trained with (--pool FILE), or the artifact of this pool (--router FILE)"
        )
    return [f"{name} is unknown to the artifact: it answers by its name, {AUTO} never chooses it" for name in names
            if name not in known] + [
        f"{name} of the artifact has no usable entry in the pool: it is never chosen" for name in known if name not in names
    ]  # fmt: skip


def default_parameters(model: PoolModel) -> dict[str, Any]:
    """Return what the model was asked with when its labels were made, and is asked with unless a client says otherwise."""
    stated = {name: value for name, value in model.parameters.items() if value is not None and name not in ANSWER_LIMITS}
    return stated if model.temperature is None else {"temperature": model.temperature} | stated


def litellm_entry(model: PoolModel) -> dict[str, Any]:
    """Return the proxy's ``model_list`` entry of a model of the pool."""
    host = urlsplit(model.address).hostname or ""
    params: dict[str, Any] = {"api_key": f"os.environ/{model.api_key_env}" if model.api_key_env else "none"}
    if model.api_version:
        params |= {"model": f"azure/{model.model}", "api_base": model.address, "api_version": model.api_version}
    elif host == "api.anthropic.com":  # in its own protocol, at LiteLLM's address of it
        params |= {"model": f"anthropic/{model.model}"}
    else:
        params |= {"model": f"openai/{model.model}", "api_base": model.address}
    if host not in ("api.openai.com", "api.anthropic.com"):
        params["use_chat_completions_api"] = True  # few others have /responses; the proxy translates
    if model.input_usd_per_mtok is not None:
        cached = model.input_usd_per_mtok if model.cached_input_usd_per_mtok is None else model.cached_input_usd_per_mtok
        # Without a price of their own, the proxy counts cached tokens as free.
        params |= {"input_cost_per_token": model.input_usd_per_mtok / 1e6, "cache_read_input_token_cost": cached / 1e6}
    if model.output_usd_per_mtok is not None:
        params["output_cost_per_token"] = model.output_usd_per_mtok / 1e6
    rates = {"rpm": model.requests_per_minute, "tpm": model.tokens_per_minute}
    params |= {name: max(1, int(rate)) for name, rate in rates.items() if rate is not None}
    params |= {"timeout": model.timeout_s} | default_parameters(model)
    info: dict[str, Any] = {"mode": "chat", "supports_vision": model.facts.takes_images}
    if model.context_window is not None:
        info["max_input_tokens"] = model.context_window
    return {"model_name": model.name, "litellm_params": params, "model_info": info}


def litellm_config(models: Sequence[PoolModel], known: Sequence[str], points: Sequence[str], *, locked: bool) -> dict[str, Any]:
    """Return the proxy's whole configuration.

    Args:
        models: to serve, each by its name.
        known: the models of the artifact.
        points: its operating points; each gets a name of its own, such as ``auto-economy``.
        locked: whether clients must show the key in ``LITELLM_MASTER_KEY``.
    """
    entries = [litellm_entry(model) for model in models]
    # The proxy lets a name be asked for only if it is listed; the hook replaces it before anyone is asked.
    first = next(entry for entry in entries if entry["model_name"] in known)
    names = [alias for alias, point in ALIASES.items() if point is None or point in points]
    entries += [{"model_name": name, "litellm_params": dict(first["litellm_params"])} for name in names]
    config: dict[str, Any] = {
        "model_list": entries,
        "litellm_settings": {
            "callbacks": CALLBACK,
            "redact_messages_in_exceptions": True,  # an error goes to a client and into the log
            "num_retries": 0,  # a failing model's turn passes to the next of the decision's ranking at once
            "use_chat_completions_url_for_anthropic_messages": True,
        },
    }
    if any({"rpm", "tpm"} & set(entry["litellm_params"]) for entry in entries):
        config["router_settings"] = {"optional_pre_call_checks": ["enforce_model_rate_limits"]}
    open_to_all = {"dangerously_permit_weak_or_unset_master_key": True}  # without it, the proxy does not start keyless
    config["general_settings"] = {"master_key": f"os.environ/{MASTER_KEY}"} if locked else open_to_all
    return config


def check_proxy(host: str, environment: Mapping[str, str]) -> None:
    """Raise ConfigError where the proxy cannot run, or must not: it is not there, is a bad release, or would be open to all."""
    where = f"in an environment of its own: make setup-litellm (in a checkout), or {advise_install('litellm')}"
    if find_spec("litellm") is None or find_spec("prisma") is None:
        raise ConfigError(f"the LiteLLM proxy is not installed here; install it {where}")
    if version("litellm") == COMPROMISED:
        raise ConfigError(
            f"LiteLLM {COMPROMISED} was a compromised release: remove this environment, and install another {where}"
        )
    if not environment.get(MASTER_KEY) and not is_loopback(host):
        raise ConfigError(
            f"without a key, everybody who reaches {host} could ask: set {MASTER_KEY} to one that begins with sk-, "
            "or serve on 127.0.0.1"
        )


def check_address(host: str, port: int) -> None:
    """Raise ConfigError where nobody can listen: the proxy would say so by a traceback, or choose another port by itself.

    An address that this machine does not have is passed over where the name has another: ``localhost`` without IPv6.
    """
    if not 0 <= port <= MAX_PORT:
        raise ConfigError(f"--port must be from 0 (any that is free) to {MAX_PORT}, got {port}")
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = [_try_to_listen(*address) for address in addresses]
    except (OSError, UnicodeError) as error:  # a name that cannot be one, too
        raise ConfigError(f"nobody can listen on {host}:{port} ({error}); give another --port or --host") from error
    if None not in found:
        raise ConfigError(f"nobody can listen on {host}:{port} ({found[0]}); give another --port or --host") from found[0]
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
        if port == PROXY_PORT and tried.connect_ex(("localhost", port)) == 0:
            raise ConfigError(f"another program listens on localhost:{port}; give another --port")


def _try_to_listen(family: int, kind: int, protocol: int, _: str, address: Any) -> OSError | None:
    """Return why this machine has no such address; None where it can be listened on. Raises OSError where it is taken."""
    try:
        with socket.socket(family, kind, protocol) as tried:
            if os.name == "posix":  # as the server does it: a port that was left a moment ago is free
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise
        return error
    return None


def run_proxy(config: Mapping[str, Any], host: str, port: int, settings: Mapping[str, str], workers: int = 1) -> None:
    """Run the proxy in this process until it is stopped; ``settings`` are the router's, as environment variables."""
    with needs_extra("litellm"):
        import yaml
    os.environ.update(settings)
    if not os.environ.get(MASTER_KEY):
        os.environ.pop(MASTER_KEY, None)
    for name, value in PROXY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with tempfile.TemporaryDirectory(prefix="auto-router-") as folder:
        path = Path(folder) / "litellm.yaml"
        path.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
        with needs_extra("litellm"):
            from litellm.proxy.proxy_cli import run_server
        arguments = ["--config", str(path), "--host", host, "--port", str(port), "--telemetry", "False"]
        if workers > 1:
            from auto_router.serve.monitoring import SHARED_FOLDER

            shared = Path(os.environ.setdefault(SHARED_FOLDER, str(Path(folder) / "metrics")))
            shared.mkdir(parents=True, exist_ok=True)
            arguments += ["--num_workers", str(workers)]
        run_server.main(arguments, prog_name="litellm", standalone_mode=False)


def print_config(config: Mapping[str, Any]) -> None:
    """Print the configuration as YAML for the proxy; a comment says what stands under ``auto``."""
    with needs_extra("litellm"):
        import yaml
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    print(text.replace(f"- model_name: {AUTO}\n", f"{AUTO_COMMENT}\n- model_name: {AUTO}\n"), end="")


def tell(line: str) -> None:
    """Print a line for whoever started the gateway: not to stdout, where ``--print-config`` writes."""
    print(line, file=sys.stderr, flush=True)
