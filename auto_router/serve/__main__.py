"""``python -m auto_router.serve``: see :mod:`auto_router.serve.gateway`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from auto_router.artifacts import load_artifact
from auto_router.data.pool import load_pool
from auto_router.data.request import AUTO, POINTS
from auto_router.decide.policy import SHARES, TEXTS, RouterSettings, resolve_policy
from auto_router.errors import ConfigError, run
from auto_router.serve import gateway
from auto_router.serve.decision_log import DecisionLog
from auto_router.terminal import Parser

EXAMPLES = """examples:
  auto-router serve --pool pool.yaml
  auto-router serve --pool pool.yaml --operating-point economy --port 8080
  auto-router serve --pool pool.yaml --feedback-file router_feedback.jsonl
  auto-router serve --pool pool.yaml --feedback-file router_feedback.jsonl --shadow-share 0.02
  auto-router serve --pool pool.yaml --print-config > litellm.yaml

  curl -s http://127.0.0.1:4000/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"model": "auto", "messages": [{"role": "user", "content": "Calculate 17 + 25."}]}'
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="auto-router serve", epilog=EXAMPLES,
        description="Serve an OpenAI-compatible endpoint whose model 'auto' is the one that the router chooses, "
        "beside every model of the pool by its name.",
    )  # fmt: skip
    parser.add_argument("--pool", default="pool.yaml", help="the pool file: where each model answers (default: %(default)s)")
    parser.add_argument(
        "--router", dest="router_path", metavar="FILE",
        help="the artifact (default: AUTO_ROUTER_PATH, else router_artifacts/nn_router.pth)",
    )  # fmt: skip
    parser.add_argument(
        "--host", default="127.0.0.1", help=f"others than loopback need {gateway.MASTER_KEY} (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=4000, help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that answer on the port (default: %(default)s)")
    parser.add_argument(
        "--operating-point", choices=POINTS, help=f"of {AUTO} (default: AUTO_ROUTER_OPERATING_POINT, else the artifact's)"
    )
    parser.add_argument("--fallback-model", help="chosen where nothing can be decided (default: AUTO_ROUTER_FALLBACK_MODEL)")
    parser.add_argument(
        "--feedback-file", metavar="FILE",
        help="keep outcomes told to /v1/feedback there, to train on (default: AUTO_ROUTER_FEEDBACK_FILE, else nowhere)",
    )  # fmt: skip
    parser.add_argument(
        "--explore-share", type=float, metavar="SHARE",
        help="of the decisions that ask another model, to learn of it (default: AUTO_ROUTER_EXPLORE_SHARE, else 0)",
    )  # fmt: skip
    parser.add_argument(
        "--shadow-share", type=float, metavar="SHARE",
        help="of the answers, after which a second model is asked the same, and the pool's judge compares, to learn from "
        "(default: AUTO_ROUTER_SHADOW_SHARE, else 0)",
    )  # fmt: skip
    parser.add_argument(
        "--shadow-usd-per-day", type=float, metavar="USD",
        help="what that may cost (default: AUTO_ROUTER_SHADOW_USD_PER_DAY, else 1)",
    )  # fmt: skip
    parser.add_argument("--print-config", action="store_true", help="print the LiteLLM configuration instead of serving")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until stopped, or print the configuration.

    Raises:
        ConfigError, ArtifactError: pool, artifact and environment do not make a gateway.
    """
    given = parse_arguments(arguments)
    if given.workers < 1:
        raise ConfigError(f"--workers must be 1 or more, got {given.workers}")
    if not given.print_config:
        gateway.check_proxy(given.host, os.environ)
        gateway.check_address(given.host, given.port)
    settings = RouterSettings.from_environment(
        {name: getattr(given, name, None) for name in (*TEXTS, *SHARES)} | {"shadow_pool": given.pool}
    )
    artifact, pool = load_artifact(settings.router_path), load_pool(given.pool)
    # A configuration may be for another machine, with other keys.
    models, notes = (list(pool.models), []) if given.print_config else gateway.usable_models(pool, os.environ)
    notes += gateway.compare_models(models, artifact.model_names)
    if settings.shadow_share and not given.print_config:
        gateway.usable_judge(pool, os.environ)
    resolve_policy(artifact.model_names, artifact.operating_points, settings)  # it names what the artifact does not know
    if settings.feedback_file is not None and not given.print_config:
        DecisionLog(Path(settings.feedback_file), settings.feedback_seconds).close()
    locked = given.print_config or bool(os.environ.get(gateway.MASTER_KEY))
    config = gateway.litellm_config(models, artifact.model_names, list(artifact.operating_points), locked=locked)
    for line in notes:
        gateway.tell(f"note: {line}")
    if given.print_config:
        gateway.print_config(config)
        return
    if given.workers > 1 and settings.session_store is None:
        gateway.tell("note: each worker keeps its own conversations; AUTO_ROUTER_SESSION_STORE names a Redis that they share")
    if not locked:
        gateway.tell(f"note: {gateway.MASTER_KEY} is not set: every program on this machine may ask")
    gateway.run_proxy(config, given.host, given.port, settings.to_environment(), given.workers)


if __name__ == "__main__":
    sys.exit(run(main))
