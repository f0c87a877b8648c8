"""Runnable patterns of ModelRouter. Train a router first (``make demo``), then:

    python router_usage_examples.py [--router router_artifacts/nn_router.pth]

Every function takes an artifact's path and prints what it shows.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from auto_router.errors import run
from model_router import ModelRouter

PROMPTS = ["What is the capital of France?", "Calculate 38 * 47 - 219.", "Write a haiku about rain."]


def text(path: Path) -> None:
    """Route one prompt."""
    router = ModelRouter(router_path=path)
    print("text:", router.route("What is the capital of France?"))


def picture(path: Path) -> None:
    """Route a prompt with pictures: base64, data URI, bytes, a Path or a PIL image."""
    router = ModelRouter(router_path=path)
    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill="red")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    takers = [name for name in router.model_names if "image" in router.pool.get(name, {}).get("modalities", ["image"])]
    if not takers:
        print("picture: no model of this router takes pictures")
        return
    print("picture:", router.route(text="What objects are in this image?", images=[uri, image]))


def thresholds_and_costs(path: Path) -> None:
    """Ask the cheapest model that is good enough; where none is, fall back to the dearest."""
    names = ModelRouter(router_path=path).model_names
    router = ModelRouter(
        router_path=path,
        model_thresholds=dict.fromkeys(names, 0.55),
        model_costs={name: float(place) for place, name in enumerate(names, start=1)},
        fallback_model=names[-1],
    )
    decision = router.decide("Calculate 38 * 47 - 219.")
    print(f"thresholds and costs: {decision.model} ({decision.reason}), cost {decision.cost}")


def batch(path: Path) -> None:
    """Route many prompts at once: they are encoded together."""
    router = ModelRouter(router_path=path)
    for prompt, model in zip(PROMPTS, router.route_batch(PROMPTS), strict=True):
        print(f"batch: {model} <- {prompt}")


def failover(path: Path) -> None:
    """Go down the ranking while models fail; ``call`` stands for a request to a provider."""
    router = ModelRouter(router_path=path)
    decision = router.decide("Explain quantum computing")

    def call(model: str) -> str:
        if model == decision.model:
            raise ConnectionError(f"{model} is down")
        return f"answer of {model}"

    for model in decision.ranking:
        try:
            print("failover:", call(model))
            break
        except ConnectionError as error:
            print("failover:", error)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Runnable patterns of ModelRouter.")
    parser.add_argument("--router", type=Path, default=Path("router_artifacts/nn_router.pth"))
    path = parser.parse_args(argv).router
    for example in (text, picture, thresholds_and_costs, batch, failover):
        example(path)


if __name__ == "__main__":
    sys.exit(run(main))
