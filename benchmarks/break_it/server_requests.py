"""Odd requests to a server: bodies, bytes on the wire, names, images and ids that a stranger makes up."""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from break_it.server_site import SECRET, Reply, Site, note_honest, note_reply
from break_it.tally import Tally
from tests.serve.made import MATH, NAMES

ODD_IDS: list[Any] = [
    "dec_' OR 1=1 --AAAAAAAAAAA", "%", "_" * 28, "dec_" + "_" * 24, "../../feedback", "dec_\0" + "A" * 23, "x" * 10**6, "",
    None, 5, ["dec_x"], {"a": 1},
]  # fmt: skip
MAX_SERIES = 60  # lines of the measures that strangers may add


def forge_ids(rng: random.Random, count: int) -> list[str]:
    """Return ids of the form that decisions have, which nobody was given."""
    return ["dec_" + base64.urlsafe_b64encode(rng.randbytes(18)).decode() for _ in range(count)]


def attack_bodies(tally: Tally, site: Site, rng: random.Random) -> None:
    """Requests that are too large, too deep, twice the same name, or none."""
    chat = json.dumps({"model": "auto", "messages": [{"role": "user", "content": f"{MATH} {SECRET}"}]})
    deep, message = "[" * 10**5 + "]" * 10**5, '{"role": "user", "content": "x"}'
    bodies: dict[str, bytes] = {
        "deep": f'{chat[:-1]}, "extra": {deep}}}'.encode(), "deep alone": deep.encode(),
        "deep content": chat.replace(f'"{MATH} {SECRET}"', deep).encode(),
        "twice a model": chat.replace("{", '{"model": "x", ', 1).encode(),
        "twice messages": f'{chat[:-1]}, "messages": []}}'.encode(), "no JSON": b"{nonsense", "empty": b"", "null": b"null",
        "a list": b"[1]", "a number": b"1" * 10**5, "NaN": f'{chat[:-1]}, "temperature": NaN}}'.encode(),
        "10^400": f'{chat[:-1]}, "max_tokens": 1{"0" * 400}}}'.encode(),
        "negative": f'{chat[:-1]}, "max_tokens": -5}}'.encode(),
        "surrogate": chat.replace(SECRET, "\\ud800").encode(), "NUL": chat.replace(SECRET, "\\u0000").encode(),
        "UTF-16": chat.encode("utf-16"), "latin": chat.replace(SECRET, "ÿ").encode("latin-1"),
        "many messages": json.dumps({"model": "auto", "messages": [json.loads(message)] * 20_000}).encode(),
        "messages a text": b'{"model": "auto", "messages": "x"}',
        "message a number": b'{"model": "auto", "messages": [1, null]}',
        "no role": b'{"model": "auto", "messages": [{"content": "x"}]}',
        "a model of lists": b'{"model": ["auto"], "messages": []}',
        "tools a text": f'{chat[:-1]}, "tools": "x"}}'.encode(), "metadata a list": f'{chat[:-1]}, "metadata": [1]}}'.encode(),
        "metadata of ours": f'{chat[:-1]}, "metadata": {{"auto_router": {{"model": "x"}}}}}}'.encode(),
        "a text of 2 MB": json.dumps({"model": "auto", "messages": [{"role": "user", "content": "a b " * 500_000}]}).encode(),
    }  # fmt: skip
    for name, body in bodies.items():
        try_request(tally, site, "bodies", name, partial(site.send, "POST", site.kind.chat, body))
    for route in ("/v1/feedback", site.kind.explain + "x", site.kind.metrics):
        for name in ("deep alone", "a list", "no JSON", "UTF-16", "twice a model"):
            body = bodies[name]
            try_request(tally, site, "bodies", f"{route} {name}", partial(site.send, "POST", route, body))
    large = b'{"model": "auto", "x": "' + b"x" * (33 * 2**20) + b'"}'
    try_request(tally, site, "bodies", "33 MB", partial(site.send, "POST", site.kind.chat, large))
    note_honest(tally, site, "bodies")


def attack_wire(tally: Tally, site: Site, rng: random.Random) -> None:
    """What is no HTTP, or HTTP that two servers would read in two ways."""
    head = f"POST {site.kind.chat} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    wires = {
        "two lengths": f"{head}Content-Length: 5\r\nContent-Length: 50\r\n\r\n{{}}   ",
        "length and chunks": f"{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "length below zero": f"{head}Content-Length: -5\r\n\r\n{{}}",
        "length no number": f"{head}Content-Length: x\r\n\r\n{{}}",
        "length beyond reason": f"{head}Content-Length: {'9' * 30}\r\n\r\n{{}}",
        "a bad chunk": f"{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        "a header of 1 MB": f"{head}X-Long: {'x' * 10**6}\r\n\r\n", "10,000 headers": head + "X: y\r\n" * 10_000 + "\r\n",
        "no HTTP": "hello\r\n\r\n", "a path of 1 MB": f"GET /{'x' * 10**6} HTTP/1.1\r\n\r\n",
        "NUL in a header": f"{head}X: \0\r\n\r\n",
        "a path upwards": "GET /../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "HTTP/9": "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    }  # fmt: skip
    for name, text in wires.items():
        found = site.raw(text.encode("latin-1"))
        first = (found or b"").split(b"\r\n")[0]
        is_refused = found is not None and (found == b"" or re.match(rb"HTTP/1.1 [1-4]\d\d", first))
        outcome = "clear error" if is_refused else "hang" if found is None else "crash"
        tally.note("wire", outcome, f"{name}: {found!r:.300}")
    note_honest(tally, site, "wire")


def attack_headers(tally: Tally, site: Site, rng: random.Random) -> None:
    """Line ends and markup in models, sessions and ids, which come back in headers or are written into the log."""
    evil = [
        "auto\r\nX-Evil: 1",
        "auto\nX-Evil: 1\n\n<script>",
        "\r\n\r\nHTTP/1.1 200 OK\r\nX-Evil: 1",
        "auto\x00",
        "a" * 10**5,
        "\u202eauto",
        "{model}",
        "../auto",
        "auto,poet",
        "*",
    ]
    for text in evil:
        plain = "".join(c for c in text if c.isprintable() and c.isascii())[:5000]
        given: list[dict[str, Any]] = [
            {"model": text}, {"session_id": text, "user": text}, {"metadata": {"session_id": text, text[:500]: text}},
            {"previous_response_id": text}, {"headers": {"x-session-id": plain, "x-request-id": plain}},
        ]  # fmt: skip
        for fields in given:
            try_request(tally, site, "header injection", repr(text[:30]), partial(site.ask, MATH, **fields))
    lines = [line for line in site.server.log.splitlines() if line.startswith(("X-Evil", "HTTP/1.1 200"))]
    tally.note(
        "header injection", "executed" if lines else "right result", f"lines of the log that a stranger wrote: {lines[:3]}"
    )
    note_honest(tally, site, "header injection")


def attack_measures(tally: Tally, site: Site, rng: random.Random) -> None:
    """Hundreds of made-up models, sessions, paths and ids: the measures must not grow with them."""

    def series() -> int:
        reply = site.send("GET", site.kind.metrics)
        return len(reply[1].splitlines()) if reply is not None and reply[0] == 200 else -1

    site.ask(MATH, model="nobody")
    before = series()
    for number in range(150):
        name = f"made-up-{number}"
        note_reply(tally, site, "made-up names", name, site.ask(MATH, model=name, user=name, session_id=name))
        site.send("GET", f"/{name}")
        site.send("POST", "/v1/feedback", {"id": name, "outcome": 1})
    grown = series() - before
    is_bounded = before > 0 and grown <= MAX_SERIES
    tally.note(
        "made-up names", "right result" if is_bounded else "lost", f"the measures had {before} lines and grew by {grown}"
    )


def attack_images(tally: Tally, site: Site, rng: random.Random) -> None:
    """Images at private addresses and behind redirects: nobody but a host that the operator named may be asked."""
    trap, hop = f"127.0.0.2:{site.trap.port}", site.hop.url
    addresses = [
        f"http://{trap}/x.png", f"http://{trap}@127.0.0.1:{site.hop.port}/", f"http://127.0.0.1@{trap}/x", f"//{trap}/x.png",
        f"HTTP://{trap}/", f"http://2130706434:{site.trap.port}/x", f"http://0x7f.0.0.2:{site.trap.port}/", f"http://127.2:{site.trap.port}/",
        f"http://[::ffff:127.0.0.2]:{site.trap.port}/", f"{hop}/x.png", f"{hop}/\r\nHost: {trap}", f"http://127.0.0.1:{site.hop.port}\\@{trap}/",
        "file:///etc/passwd", "gopher://127.0.0.2/", "http://169.254.169.254/latest/meta-data/", "data:image/png;base64,AAAA",
        "x" * 10**6,
    ]  # fmt: skip
    for address in addresses:
        for part in ({"type": "image_url", "image_url": {"url": address}}, {"type": "input_image", "image_url": address}):
            content = [{"type": "text", "text": MATH}, part]
            try_request(tally, site, "image addresses", address[:60], partial(site.ask, content))
    asked = [asked.head[:60] for asked in site.trap.asked]
    tally.note("image addresses", "sent" if asked else "right result", f"the trap was asked: {asked[:3]}")


def attack_feedback(tally: Tally, site: Site, rng: random.Random) -> None:
    """Outcomes of decisions that nobody was told of, and such as are none."""
    case, file = "forged feedback", site.artifact.with_name("feedback.jsonl")
    before = file.read_bytes() if file.exists() else b""
    known = site.ask(MATH)
    own = "" if known is None else known[2].get("x-auto-router-decision-id", "")
    bodies: list[Any] = [{"id": id, "outcome": 1.0} for id in [*forge_ids(rng, 40), *ODD_IDS]]
    bodies += [{"id": own, "outcome": outcome} for outcome in (2, -1, "1", None, [1], {"a": 1}, "NaN", 10**400)]
    bodies += [
        f'{{"id": "{own}", "outcome": {text}}}'.encode() for text in ("NaN", "1e400", '-0.5, "outcome": 7', '1, "id": "x"')
    ]
    bodies += [{"id": own, "outcome": 1, "model": "nobody"}, {"id": own, "outcome": 1, "extra": 1}, [], None, {"id": own}]
    for body in bodies:
        reply = try_request(tally, site, case, f"{body!r:.60}", partial(site.send, "POST", "/v1/feedback", body))
        if reply is not None and reply[0] == 200:
            tally.note(case, "executed", f"{body!r:.60} was taken")
    after = file.read_bytes() if file.exists() else b""
    tally.note(case, "right result" if after == before else "executed", f"the file grew: {after[len(before) :][:200]!r}")


def attack_ids(tally: Tally, site: Site, rng: random.Random) -> None:
    """Ids of other people's decisions, sessions and responses, guessed, forged and bent."""
    case = "ids of others"
    for given in [*forge_ids(rng, 10), "x'", "%2e%2e%2f", "dec_%00"]:
        reply = try_request(tally, site, case, given, partial(site.send, "GET", site.kind.explain + given))
        if reply is not None and reply[0] == 200:
            tally.note(case, "sent", f"{given!r} was explained: {reply[1][:200]!r}")
    if not site.kind.is_gateway:  # whoever may ask may say who made a response: but only models that there are are chosen
        for name in ("nobody", "x" * 10**6, "\r\nX-Evil: 1"):
            try_request(
                tally, site, case, name[:20], partial(site.send, "POST", "/route/response", {"id": "resp_1", "model": name})
            )
    for given in ("resp_1", "resp_" + "a" * 40, "chatcmpl-1", "session-of-somebody"):
        ask = partial(site.ask, MATH, previous_response_id=given, session_id=given)
        reply = try_request(tally, site, case, given, ask)
        if reply is not None and reply[0] == 200 and site.answered_by(reply) not in NAMES:
            tally.note(case, "executed", f"{given} pinned {reply[1][:100]!r}")
    note_honest(tally, site, case)


def try_request(tally: Tally, site: Site, case: str, told: str, act: Callable[[], Reply | None]) -> Reply | None:
    """Do what asks the server, and count what comes of it; return the answer."""
    try:
        reply = act()
    except OSError as error:  # closed without an answer: its right, if it lives on
        tally.note(
            case,
            "clear error" if site.is_alive and not isinstance(error, ConnectionRefusedError) else "crash",
            f"{told}: {error}",
        )
        return None
    note_reply(tally, site, case, told, reply)
    return reply
