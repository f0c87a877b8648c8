"""Eight runnable patterns of ModelRouter. Train a router first (``make demo``), then:

    python router_usage_examples.py
    OPENAI_BASE_URL=http://127.0.0.1:8000/v1 python router_usage_examples.py --only explain_and_failover
    python router_usage_examples.py --router path/to/nn_router.pth

Every function takes the artifact's path and prints what it shows. ``explain_and_failover`` asks real endpoints with the
openai package; without ``OPENAI_BASE_URL`` it starts one on this machine, where the first choice is down.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from auto_router import Decision, ModelRouter
from auto_router.errors import ProviderError, run
from auto_router.terminal import Parser

if TYPE_CHECKING:
    from auto_router.collect.replay import ReplayServer

PROMPTS = ["What is the capital of France?", "Calculate 38 * 47 - 219.", "Write a haiku about rain."]
QUESTION = "What is 7 * 8? Answer with just the number."


def text(path: Path) -> None:
    """Route one prompt. A prompt is always text, also where it looks like a path or a URL."""
    router = ModelRouter(path)
    print("text:", router.route("What is the capital of France?"))


def picture(path: Path) -> None:
    """Route a prompt with an image; a model without eyes is never chosen."""
    router = ModelRouter(path)
    if takes_images(router):
        print("picture:", router.route(text="What shape is in this image?", images=[draw_circle("red")]))


def several_images(path: Path) -> None:
    """Images come as base64, data URI, bytes, a Path or a PIL image; all of them count."""
    router = ModelRouter(path)
    if takes_images(router):
        buffer = io.BytesIO()
        draw_circle("blue").save(buffer, "PNG")
        uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
        print("several pictures:", router.route("Which circle is bluer?", images=[draw_circle("red"), uri]))


def thresholds(path: Path) -> None:
    """Only models of which enough is expected; where none is, the fallback."""
    names = ModelRouter(path).model_names
    strict = ModelRouter(path, model_thresholds=dict.fromkeys(names, 0.55), fallback_model=names[-1])
    tell("thresholds", strict.decide("Calculate 38 * 47 - 219."))


def costs(path: Path) -> None:
    """With thresholds, the cheapest model that is good enough; without, the operating point that weighs costs."""
    price = {name: float(place) for place, name in enumerate(ModelRouter(path).model_names, start=1)}
    thrifty = ModelRouter(path, model_thresholds=dict.fromkeys(price, 0.5), model_costs=price)
    tell("costs", thrifty.decide("Calculate 38 * 47 - 219."))
    tell("costs", ModelRouter(path, model_costs=price).decide("Calculate 38 * 47 - 219."))


def batch(path: Path) -> None:
    """Many prompts at once are encoded together."""
    router = ModelRouter(path)
    for prompt, model in zip(PROMPTS, router.route_batch(PROMPTS), strict=True):
        print(f"batch: {model} <- {prompt}")


def in_an_event_loop(path: Path) -> None:
    """``aroute`` and ``adecide`` do not block the loop; calls at the same time share batches of the encoder."""
    router = ModelRouter(path)

    async def route_all() -> list[str]:
        return await asyncio.gather(*(router.aroute(prompt) for prompt in PROMPTS))

    print("async:", ", ".join(asyncio.run(route_all())))


def explain_and_failover(path: Path) -> None:
    """Why this model, and which next: ask down the ranking until one answers."""
    import openai

    router = ModelRouter(path)
    decision = router.decide(QUESTION)
    why = router.explain(decision, count=1)
    print(f"explain: {decision.model}; nearest training record {why.neighbours[0].idx if why.neighbours else 'not kept'}")
    for flip in why.flips[:2]:
        print(f"explain: {flip.model} if the {flip.setting} of {flip.of} went from {flip.now:.3g} past {flip.at:.3g}")
    with contextlib.ExitStack() as stack:
        url = os.environ.get("OPENAI_BASE_URL") or stack.enter_context(one_endpoint(decision.ranking[-1])).url
        key = os.environ.get("OPENAI_API_KEY", "none")
        client = stack.enter_context(openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=60))
        for model in decision.ranking:
            try:
                answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": QUESTION}])
            except openai.APIError as error:
                print(f"failover: {model} failed ({type(error).__name__}), the next one")
                continue
            print(f"failover: {model} says {answer.choices[0].message.content}")
            return
    raise ProviderError(f"none of {', '.join(decision.ranking)} answered at {url}")


def one_endpoint(model: str) -> ReplayServer:
    """An OpenAI-compatible endpoint on this machine that knows one model and one question."""
    from auto_router.collect.endpoint import user_message
    from auto_router.collect.replay import ReplayServer, recording
    from auto_router.collect.reply import Response

    row = {"request": {"model": model, "messages": user_message(QUESTION)}, "answer": Response("56").to_plain()}
    return ReplayServer(recording([row]))


def takes_images(router: ModelRouter) -> bool:
    """Does any model of this router take images?"""
    found = any(name not in router.facts or router.facts[name].takes_images for name in router.model_names)
    if not found:
        print("no model of this router takes pictures")
    return found


def draw_circle(colour: str) -> Image.Image:
    """Return an image of a circle."""
    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill=colour)
    return image


def tell(title: str, decision: Decision) -> None:
    cost = "" if decision.cost is None else f", cost {decision.cost:g}"
    print(f"{title}: {decision.model} ({decision.reason}, P={decision.probabilities[decision.model]:.2f}{cost})")


EXAMPLES: tuple[Callable[[Path], None], ...] = (
    text, picture, several_images, thresholds, costs, batch, in_an_event_loop, explain_and_failover,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    names = [example.__name__ for example in EXAMPLES]
    parser = Parser(description=__doc__)
    parser.add_argument("--router", type=Path, default=Path("router_artifacts/nn_router.pth"), help="the artifact")
    parser.add_argument("--only", choices=names, action="append", help="run this example; repeat for several (default: all)")
    arguments = parser.parse_args(argv)
    for example in EXAMPLES:
        if arguments.only is None or example.__name__ in arguments.only:
            example(arguments.router)


if __name__ == "__main__":
    sys.exit(run(main))
