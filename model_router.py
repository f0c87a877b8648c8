"""Stage 4: route prompts with a trained router.

from model_router import ModelRouter
router = ModelRouter("router_artifacts/nn_router.pth", model_thresholds={"gpt-5-chat": 0.70})
model = router.route("Explain quantum computing")

python model_router.py "Explain quantum computing"
python model_router.py "What is in this image?" --image photo.jpg --cost gpt-5-chat=1.0 --threshold gpt-5-chat=0.7
"""

from __future__ import annotations

if __name__ == "__main__":
    from auto_router.errors import end_on_signals

    end_on_signals()  # before the imports below, which take seconds

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from auto_router.decide.rule import Decision
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.errors import ConfigError, run
from auto_router.route.router import ModelRouter
from auto_router.terminal import Parser, add_flags, capture_output

if TYPE_CHECKING:
    from auto_router.learn.mlp import RouterNetwork

__all__ = ["Decision", "EmbeddingGenerator", "ModelRouter", "RouterNetwork"]


def __getattr__(name: str) -> Any:
    if name != "RouterNetwork":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from auto_router.learn.mlp import RouterNetwork  # torch takes longer to import than a decision takes

    return RouterNetwork


EXAMPLES = """examples:
  python model_router.py "Explain quantum computing"
  python model_router.py "What is in this picture?" --image photo.jpg --cost gpt-5-chat=1.0 --threshold gpt-5-chat=0.7
  python model_router.py "Explain quantum computing" --operating-point economy
  model=$(python model_router.py "Explain quantum computing" --quiet)"""


def parse_pairs(pairs: Sequence[str], flag: str) -> dict[str, float]:
    """Parse ``MODEL=NUMBER`` flags. Raises ConfigError naming the flag and the pair."""
    parsed = {}
    for pair in pairs:
        name, equals, number = pair.rpartition("=")
        try:
            parsed[name] = float(number)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise ConfigError(f"{flag} takes MODEL=NUMBER, got {pair!r}")
    return parsed


def decision_table(decision: Decision) -> str:
    """Show one decision: every model in the order it would be tried."""
    rows = [
        [
            "->" if name == decision.model else "",
            name,
            f"{decision.probabilities[name]:.3f}",
            "yes" if name in decision.qualified else "no",
        ]
        for name in decision.ranking
    ]
    # What the network says of a model that cannot be asked means nothing: it was not asked in training either.
    rows += [["", name, "-", "cannot take this input"] for name in decision.probabilities if name not in decision.ranking]
    return tabulate(rows, headers=["", "model", "P(correct)", "qualified"], disable_numparse=True)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(description="Stage 4: route one prompt and show the decision.", epilog=EXAMPLES)
    add_flags(parser, quiet="print the chosen model's name alone (with --json: the JSON alone)")
    parser.add_argument("prompt", help="the prompt; always taken as text, whatever it looks like")
    parser.add_argument("--image", type=Path, action="append", default=[], help="an image file; repeat for several")
    parser.add_argument("--router", type=Path, default=Path("router_artifacts/nn_router.pth"), help="the artifact")
    parser.add_argument("--threshold", action="append", default=[], metavar="MODEL=P", help="least P(correct) of a model")
    parser.add_argument("--cost", action="append", default=[], metavar="MODEL=COST", help="cost of a model, any unit")
    parser.add_argument(
        "--operating-point", metavar="NAME", help="accuracy, quality, balanced, economy or latency (default: the artifact's)"
    )
    parser.add_argument("--fallback", metavar="MODEL", help="model to choose where none qualifies")
    parser.add_argument("--device", help="cuda or cpu (default: cuda where there is a GPU)")
    parser.add_argument("--clip-server", metavar="HOST:PORT", help="for a router trained on a clip-server's embeddings")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    with capture_output(arguments) as result:
        result |= route(arguments)
    if arguments.quiet and not arguments.json:
        print(result["model"])


def route(arguments: argparse.Namespace) -> dict[str, Any]:
    """Route the prompt, show the decision, and return it in plain values."""
    router = ModelRouter(
        arguments.router,
        model_thresholds=parse_pairs(arguments.threshold, "--threshold"),
        model_costs=parse_pairs(arguments.cost, "--cost"),
        device=arguments.device,
        fallback_model=arguments.fallback,
        operating_point=arguments.operating_point,
        clip_server=arguments.clip_server,
    )
    decision = router.decide(arguments.prompt, arguments.image)
    print(decision_table(decision))
    what = "cost" if arguments.cost else "expected cost USD"  # costs of one's own are in any unit
    cost = "" if decision.cost is None else f", {what} {decision.cost:.3g}"
    print(f"{decision.model}  ({decision.reason.replace('_', ' ')}{cost})")
    return decision.to_dict()


if __name__ == "__main__":
    sys.exit(run(main))
