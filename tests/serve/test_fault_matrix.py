"""Every API, kind of request and fault of the first choice against one proxy: who answers in each cell, and with what status.

All cells are under way together: the temperature of a request tells the first choice which fault it is to have.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import pytest

if find_spec("litellm") is None:  # not importorskip: importing it asks for price lists on the net
    pytest.skip("the LiteLLM proxy is in an environment of its own: make test-litellm", allow_module_level=True)

import yaml

from auto_router.data.pool import ModelFacts
from tests.serve.gateways import KEY, PIXEL, own_proxy, post, print_config
from tests.serve.made import MATH, save_made
from tests.serve.vendors import Vendor

ROUTES = ("chat/completions", "responses", "messages")
UNROUTED = ("completions", "v1beta/models/auto:generateContent")
KINDS = ("plain", "stream", "tools", "streamed tools", "image", "structured")
FAULTS: tuple[int | str | None, ...] = (None, 400, 401, 408, 429, 500, "hang", "broken", "cut")
SCHEMA = {"type": "object", "properties": {"who": {"type": "string"}}, "required": ["who"], "additionalProperties": False}
CELLS = [cell for cell in product(ROUTES, KINDS, FAULTS) if cell[2] != "cut" or "stream" in cell[1]]
CELLS += [(route, "plain", fault) for route, fault in product(UNROUTED, (None, 500))]
Answer = tuple[int, str, dict[str, str]]


def temperature(place: int) -> float:
    return (place + 1) / 1000


@pytest.fixture(scope="module")
def made_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first choice takes images, too."""
    takes = {"math": ("text", "image"), "poet": ("text",), "eyes": ("text", "image")}
    facts = {name: ModelFacts(modalities=taken) for name, taken in takes.items()}
    return save_made(tmp_path_factory.mktemp("artifact") / "nn_router.pth", facts=facts)


@pytest.fixture(scope="module")
def answers(
    pool: Path, environment: dict[str, str], vendors: dict[str, Vendor], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str, int | str | None], Answer]]:
    """What came of each cell."""
    config = yaml.safe_load(print_config(pool, environment))
    for entry in config["model_list"]:  # with 16 cells at once on a busy machine, a model that answers must not be too late
        entry["litellm_params"]["timeout"] = 6
    places = {cell: temperature(place) for place, cell in enumerate(CELLS)}
    vendors["math"].faults = {places[cell]: cell[2] for cell in CELLS if cell[2] is not None}
    with own_proxy(config, tmp_path_factory.mktemp("proxy"), environment) as proxy, ThreadPoolExecutor(16) as threads:

        def ask(cell: tuple[str, str, int | str | None]) -> Answer:
            route, kind, _ = cell
            path = f"/{route}" if route.startswith("v1beta") else f"/v1/{route}"
            return post(proxy, path, body_of(route, kind) | {"temperature": places[cell]}, KEY)

        yield dict(zip(CELLS, threads.map(ask, CELLS), strict=True))


def body_of(route: str, kind: str) -> dict[str, Any]:
    """Return a request of a kind as the API has it."""
    if route == "completions":
        return {"model": "auto", "prompt": MATH}
    if route in UNROUTED:
        return {"contents": [{"parts": [{"text": MATH}]}]}
    content: Any = MATH if kind != "image" else image_content(route)
    turn = {"role": "user", "content": content}
    body: dict[str, Any] = {"model": "auto", "input" if route == "responses" else "messages": [turn]}
    if route == "messages":
        body["max_tokens"] = 50
    if "stream" in kind:
        body["stream"] = True
    if "tools" in kind:
        body["tools"] = [tool_of(route)]
    if kind == "structured":
        body |= structured_output(route)
    return body


def image_content(route: str) -> list[dict[str, Any]]:
    if route == "responses":
        return [{"type": "input_text", "text": MATH}, {"type": "input_image", "image_url": PIXEL}]
    if route == "messages":
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL.partition(",")[2]}
        return [{"type": "text", "text": MATH}, {"type": "image", "source": source}]
    return [{"type": "text", "text": MATH}, {"type": "image_url", "image_url": {"url": PIXEL}}]


def tool_of(route: str) -> dict[str, Any]:
    if route == "messages":
        return {"name": "greet", "description": "Greet.", "input_schema": SCHEMA}
    function = {"name": "greet", "description": "Greet.", "parameters": SCHEMA}
    return {"type": "function", **function} if route == "responses" else {"type": "function", "function": function}


def structured_output(route: str) -> dict[str, Any]:
    if route == "messages":
        return {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    named = {"name": "greeting", "schema": SCHEMA, "strict": True}
    if route == "responses":
        return {"text": {"format": {"type": "json_schema", **named}}}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def who_was_asked(vendors: dict[str, Vendor], place: int) -> list[str]:
    return [name for name, vendor in vendors.items() for body in vendor.bodies if body.get("temperature") == temperature(place)]


@pytest.mark.parametrize("place", range(len(CELLS)), ids=[" ".join(map(str, cell)) for cell in CELLS])
def test_cell(answers: dict[tuple[str, str, int | str | None], Answer], vendors: dict[str, Vendor], place: int) -> None:
    cell = CELLS[place]
    (route, kind, fault), (status, said, headers) = cell, answers[cell]
    asked = who_was_asked(vendors, place)
    if route in UNROUTED:
        assert (status, asked) == (400, []), said
        assert "auto" in said
        return
    if fault == 400:
        assert (status, asked) == (400, ["math"]), said
        assert "fault 400" in said
        return
    assert (status, headers.get("x-auto-router-model")) == (200, "math"), said
    who = "math" if fault is None else "eyes"
    if fault == "cut":  # a part of an answer was told already: it ends with an error, or another model begins anew
        assert asked == ["math"] or said.count("eyes") >= 1, said
        assert "error" in said or "eyes" in said, said
        return
    assert asked == (["math"] if fault is None else ["math", "eyes"])
    if "tools" in kind:
        assert "greet" in said
        assert who in json.dumps(said)
    else:
        # For Anthropic's protocol the proxy makes a call of a tool of a structured answer, and its arguments the answer.
        given = (f"{who} says hello", rf"{{\"who\": \"{who}\"}}" if kind == "structured" else f"{who} says hello")
        assert any(text in text_of(said, "stream" in kind) for text in given), said
    (seen,) = (body for body in vendors[who].bodies if body.get("temperature") == temperature(place))
    assert_nothing_is_lost(seen, kind)


def text_of(said: str, streamed: bool) -> str:
    """Return the text of an answer, be it in pieces."""
    if not streamed:
        return said
    found = ""
    for line in said.splitlines():
        if not line.startswith("data: {"):
            continue
        event = json.loads(line.removeprefix("data: "))
        for choice in event.get("choices", []):
            found += choice["delta"].get("content") or ""
        delta = event.get("delta")
        found += delta if isinstance(delta, str) else (delta or {}).get("text", "")
    return found


def assert_nothing_is_lost(body: dict[str, Any], kind: str) -> None:
    """Whoever answers was given all of the request."""
    whole = json.dumps(body)
    assert json.dumps(MATH)[1:-1] in whole
    if "tools" in kind:
        assert '"greet"' in json.dumps(body["tools"])
    if kind == "image":
        assert PIXEL.partition(",")[2] in whole
    if kind == "structured":
        assert '"who"' in whole
