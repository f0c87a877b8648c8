"""Stage 1 against endpoints that misbehave, and against one that echoes the key: the rest of the run must not notice."""

from __future__ import annotations

import base64
import gzip
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from break_it.behaviours import ANSWER as ANSWER
from break_it.behaviours import JSON, MAY_BE_RIGHT, WIRE, delta, event
from break_it.commands import Ended, quick_retries, run_command
from break_it.hostile import Asked, Behaviour, HostileServer, completion, encode
from break_it.tally import Tally

QUESTIONS = 4
TIMEOUT_S = 3.0
KEY, HEADER_KEY = 'sk-Br3ak/It+9"x\\z=Q77', "hdr-S3cret/+value=42"
SAYS_OTHER = (
    "content-number",
    "stream-many",
    "names-twice",
    "content-twice",
    "surrogates",
    "not-utf-8",
    "nul",
)  # not the reference
UNSEEN = "\x1b\x9b\x07\u202e"  # what would reach a terminal as a command


def write_inputs(folder: Path, models: list[dict[str, Any]], questions: int = QUESTIONS, **more: Any) -> list[str]:
    """Write a data set and a pool of ``models``; return the arguments of a run on them."""
    rows = [{"prompt": f"Question {number}: what is 40 and 2?", "answer": ANSWER} for number in range(questions)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "pool.yaml").write_text(json.dumps({"models": models} | more))
    files = {"--dataset": folder / "rows.jsonl", "--pool": folder / "pool.yaml", "--output-dir": folder / "out"}
    return [str(part) for pair in files.items() for part in pair]


def read_labels(folder: Path) -> dict[str, list[tuple[float | None, str]]]:
    """Return the labels of each model, with the reason where there is none."""
    found: dict[str, list[tuple[float | None, str]]] = {}
    for path in sorted((folder / "out").glob("hf_evaluations_*.json")):
        for row in json.loads(path.read_text(encoding="utf-8", errors="surrogatepass")):
            for name, score in row["model_scores"].items():
                found.setdefault(name, []).append((score, row.get("model_errors", {}).get(name, "")))
    return found


def _entry(server: HostileServer, name: str) -> dict[str, Any]:
    return {
        "name": name, "base_url": f"{server.url}/{name}", "api_key_env": "BREAK_IT_KEY",
        "timeout_s": 30.0 if name == "honest" else TIMEOUT_S,
        "concurrency": 4, "headers": {"X-Gateway": "BREAK_IT_HEADER"}, "input_usd_per_mtok": 1, "output_usd_per_mtok": 2,
    }  # fmt: skip


def _answer(behaviours: Mapping[str, Behaviour]) -> Behaviour:
    def behave(asked: Asked) -> None:
        name = asked.path.split("/")[1]
        if name == "honest":
            asked.reply(encode(completion(ANSWER)))
        else:
            behaviours[name](asked)

    return behave


def _run(tally: Tally, case: str, behaviours: Mapping[str, Behaviour], *flags: str, limit_s: float) -> tuple[Ended, bytes]:
    """Ask every behaviour as a model of one pool, with an honest one among them; return what was written as well."""
    with tempfile.TemporaryDirectory() as place, HostileServer(_answer(behaviours)) as server:
        folder = Path(place)
        models = [_entry(server, name) for name in ["honest", *behaviours]]
        arguments = [*write_inputs(folder, models), "--match-only", *flags]
        secrets = {"BREAK_IT_KEY": KEY, "BREAK_IT_HEADER": HEADER_KEY}
        ended = run_command("prepare_hf_data", arguments, limit_s, environment=secrets, prepare=quick_retries)
        labels = read_labels(folder)
        for name in ["honest", *behaviours]:
            _note_model(tally, f"{case}: {'honest beside them' if name == 'honest' else 'endpoints'}", name, ended, labels)
        written = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return ended, written + ended.output.encode("utf-8", "surrogateescape")


def _note_model(tally: Tally, case: str, name: str, ended: Ended, labels: Mapping[str, list[tuple[float | None, str]]]) -> None:
    if ended.outcome in ("hang", "crash"):
        tally.note(case, ended.outcome, f"{name} ({ended.seconds:.0f} s, code {ended.code}): {ended.output}")
        return
    if ended.outcome == "clear error":  # the preflight found an endpoint that cannot be used
        tally.note(case, "clear error")
        return
    found = labels.get(name, [])
    scores, right = {score for score, _ in found}, name == "honest" or name.startswith(MAY_BE_RIGHT)
    reasoned = all(reason for score, reason in found if score is None)
    if len(found) == QUESTIONS and scores == {1.0} and right:
        tally.note(case, "right result")
    elif scores <= {0.0, None} and 0.0 in scores and name.startswith(SAYS_OTHER):
        tally.note(case, "right result")  # what it says is an answer, a wrong one
    elif len(found) == QUESTIONS and scores <= ({1.0, None} if right else {None}) and name != "honest" and reasoned:
        tally.note(case, "clear error")
    else:
        tally.note(case, "lost", f"{name}: {found[:2]} {ended.output[-300:]}")


def forms_of(secret: str) -> dict[str, bytes]:
    """The ways in which a secret could stand in a file, each of which gives it away."""
    shown = repr(secret)[1:-1]
    texts = {
        "plain": secret, "JSON": json.dumps(secret)[1:-1], "JSON twice": json.dumps(json.dumps(secret))[3:-3], "repr": shown,
        "slashes": secret.replace("/", "\\/"), "unicode": escape_all(secret), "percent": quote(secret, safe=""),
        "UNICODE": escape_all(secret).upper().replace("\\U", "\\u"),
    }  # fmt: skip
    found = {name: text.encode() for name, text in texts.items()}
    return found | {"UTF-16": secret.encode("utf-16-le"), "base64": base64.b64encode(secret.encode()).rstrip(b"=")[:-1]}


def escape_all(text: str) -> str:
    return "".join(f"\\u{ord(c):04x}" for c in text)


def _spill(key: str) -> dict[str, Behaviour]:
    """Every way to hand the key back."""
    html = "".join(f"&#{ord(c)};" for c in key)

    def at(text: str, value: bytes) -> bytes:
        return encode(completion(text)).replace(b'"HERE"', value).replace(b"HERE", value)

    def say(data: bytes, *headers: str, status: str = "200 OK") -> Behaviour:
        return lambda asked: asked.reply(data, *headers, status=status)

    pieces = [key[:6], key[6:7], key[7:]]
    escaped = escape_all(key).encode()
    split = b"".join(event(delta(piece)) for piece in pieces) + event(delta("", "stop"))
    error = {"error": {"message": f"bad key {key}", "param": key, "code": key, "type": key}}
    twice = json.dumps(json.dumps({"key": key})).encode()
    return {
        "plain": say(encode(completion(key))),
        "in-text": say(encode(completion(f"{ANSWER} {key}"))),
        "escaped": say(at("HERE", b'"' + escaped + b'"')),
        "escaped-upper": say(at("HERE", b'"' + escaped.upper().replace(b"\\U", b"\\u") + b'"')),
        "escaped-some": say(at("HERE", b'"' + escaped[:24] + json.dumps(key[4:])[1:-1].encode() + b'"')),
        "slashes": say(at("HERE", json.dumps(key).replace("/", "\\/").encode())),
        "escaped-twice": say(at("HERE", twice)),
        "escaped-four-times": say(at("HERE", json.dumps(json.dumps(json.loads(twice))).encode())),
        "percent": say(encode(completion(quote(key, safe="")))),
        "html": say(encode(completion(html))),
        "utf-16": say(encode(completion("K")).decode().replace("K", json.dumps(key)[1:-1]).encode("utf-16")),
        "utf-16-escaped": say(encode(completion("K")).decode().replace("K", escape_all(key)).encode("utf-16")),
        "gzip": say(gzip.compress(encode(completion(key))), "Content-Encoding: gzip"),
        "finish": say(encode(completion(ANSWER, finish=key))),
        "finish-escaped": say(encode(completion(ANSWER, finish="HERE")).replace(b"HERE", escaped)),
        "model": say(encode(completion(ANSWER, model=key))),
        "name": say(encode(completion(ANSWER) | {key: key})),
        "usage": say(encode(completion(ANSWER, usage={"prompt_tokens": key, key: 1}))),
        "reasoning": say(encode({"choices": [{"message": {"content": "", "reasoning": key}, "finish_reason": "stop"}]})),
        "error-400": say(encode(error), status="400 Bad"),
        "error-401": say(encode(error), status="401 No"),
        "error-500": say(encode(error), status="500 Bad"),
        "error-200": say(encode(error)),
        "error-escaped": say(encode({"error": {"message": "HERE"}}).replace(b"HERE", escaped), status="400 Bad"),
        "error-text": say(f"what is {key}?".encode(), status="404 None"),
        "error-filter": say(encode({"error": {"message": key, "code": "content_filter"}}), status="400 Bad"),
        "location": say(b"", f"Location: http://127.0.0.1:1/?key={key}", status="307 Moved"),
        "location-percent": say(b"", f"Location: http://127.0.0.1:1/?key={quote(key, safe='')}", status="307 Moved"),
        "retry-after": say(b"{}", f"Retry-After: {key}", status="429 Slow"),
        "status-line": say(encode(completion(ANSWER)), status=f"500 {key}"),
        "not-http": lambda asked: asked.send(f"{key}\r\n\r\n".encode()),
        "bad-header": lambda asked: asked.send(f"HTTP/1.1 200 OK\r\n{key}\x00: {key}\r\n\r\n".encode()),
        "bad-length": lambda asked: asked.send(f"HTTP/1.1 200 OK\r\nContent-Length: {key}\r\n\r\n".encode()),
        "bad-encoding": say(b"{}", f"Content-Encoding: {key}"),
        "bad-type": say(encode(completion(ANSWER)), f"X-Type: {key}", "Content-Type: text/plain; charset=" + "HERE"),
        "not-json": say(f'{{"choices": {key}'.encode()),
        "stream": say(event(delta(key)) + event(delta("", "stop"))),
        "stream-split": say(split),
        "stream-error": say(event({"error": {"message": key}})),
        "param": say(encode({"error": {"message": f"max_tokens is not supported, use {key}", "param": "max_tokens"}}),
                     status="400 Bad"),
    }  # fmt: skip


def _redirects(elsewhere: HostileServer) -> dict[str, Behaviour]:
    """Redirects to another host, as every status and in every form."""

    def to(address: str, status: str, *more: str) -> Behaviour:
        return lambda asked: asked.reply(b"{}", f"Location: {address}", *more, status=status)

    target = f"{elsewhere.url}/v1/chat/completions"
    host = f"127.0.0.2:{elsewhere.port}"
    statuses = {code: to(target, f"{code} Moved") for code in (300, 301, 302, 303, 305, 307, 308)}
    return {
        **{f"redirect-{code}": behaviour for code, behaviour in statuses.items()},
        "redirect-refresh": to(target, "200 OK", f"Refresh: 0; url={target}", f"Content-Location: {target}"),
        "redirect-scheme": to(f"//{host}/v1", "307 Moved"),
        "redirect-user": to(f"http://127.0.0.1@{host}/v1", "307 Moved"),
        "redirect-file": to("file:///etc/passwd", "302 Moved"),
        "redirect-alt-svc": lambda asked: asked.reply(b"{}", f'Alt-Svc: h2="{host}"; persist=1', status="503 Away"),
        "redirect-proxy": lambda asked: asked.reply(b"{}", f'Proxy-Authenticate: Basic realm="{host}"', status="407 Proxy"),
        "redirect-401": lambda asked: asked.reply(b"{}", f'WWW-Authenticate: Basic realm="http://{host}"', status="401 No"),
    }


def note_secrets(tally: Tally, case: str, written: bytes) -> None:
    """Look for the planted keys in every byte that was written."""
    for secret in (KEY, HEADER_KEY):
        for form, data in forms_of(secret).items():
            place = written.find(data)
            around = written[max(0, place - 150) : place + 100]
            tally.note(case, "right result" if place < 0 else "sent", f"{form}: …{around!r}")


def note_terminal(tally: Tally, case: str, output: str) -> None:
    found = [c for c in UNSEEN if c in output]
    tally.note(case, "executed" if found else "right result", f"{found} reached the terminal: {output!r}")


def attack(tally: Tally, seconds: float, seed: int) -> None:
    limit = max(seconds, 60.0)
    slow = {name: JSON[name] for name in JSON if name.startswith(("stream-many", "stream-one", "content-many"))}
    quick = {name: behaviour for name, behaviour in JSON.items() if name not in slow}
    groups: dict[str, Callable[[], tuple[Ended, bytes]]] = {
        "wire": lambda: _run(tally, "wire", WIRE, "--skip-preflight", limit_s=limit),
        "wire, preflight": lambda: _run(tally, "wire, with preflight", WIRE, limit_s=limit),
        "JSON": lambda: _run(tally, "JSON", quick, "--skip-preflight", limit_s=limit),
        "JSON, preflight": lambda: _run(tally, "JSON, with preflight", quick, limit_s=limit),
        "large streams": lambda: _run(tally, "large streams", slow, "--skip-preflight", limit_s=limit),
    }  # fmt: skip
    for case, run in groups.items():
        ended, written = run()
        note_terminal(tally, "control characters on the terminal", ended.output)
        tally.notes.append(f"{case}: {ended.seconds:.0f} s")
        if case.startswith("wire"):
            note_secrets(tally, "keys in what is written", written)
    attack_keys(tally, limit)


def attack_keys(tally: Tally, limit: float) -> None:
    """Endpoints that hand the key back, and such as send us elsewhere with it."""
    with HostileServer(lambda asked: asked.reply(encode(completion(ANSWER))), "127.0.0.2") as elsewhere:
        told = {
            f"{place}-{name}": way for place, key in (("key", KEY), ("header", HEADER_KEY)) for name, way in _spill(key).items()
        }
        told |= _redirects(elsewhere)
        for flags in ([], ["--skip-preflight"]):
            with tempfile.TemporaryDirectory() as place, HostileServer(_answer(told)) as server:
                folder = Path(place)
                arguments = write_inputs(folder, [_entry(server, name) for name in ["honest", *told]])
                secrets = {"BREAK_IT_KEY": KEY, "BREAK_IT_HEADER": HEADER_KEY}
                arguments += ["--match-only", "--audit", "400", *flags]
                ended = run_command("prepare_hf_data", arguments, limit, environment=secrets, prepare=quick_retries)
                tally.note("runs whose keys are echoed", ended.outcome, ended.output)
                journal = folder / "out" / "hf_journal.sqlite"
                export = ["--export", journal, folder / "exported.jsonl"]
                exported = run_command("auto_router.collect.replay", export, limit)
                tally.note("runs whose keys are echoed", exported.outcome, exported.output)
                again = run_command("prepare_hf_data", [*arguments, "--export-only"], limit)
                tally.note("runs whose keys are echoed", again.outcome, again.output)
                plain = [p.read_bytes() for p in folder.rglob("*") if p.is_file()]
                unpacked = [gzip.decompress(data) for data in plain if data[:2] == b"\x1f\x8b"]
                outputs = (ended.output + exported.output + again.output).encode("utf-8", "surrogateescape")
                note_secrets(tally, "keys in what is written", b"\n".join([*plain, *unpacked, outputs]))
        for name in told:
            if name.startswith("redirect"):
                tally.note(
                    "redirects to another host", "sent" if elsewhere.asked else "right result", f"{name}: {elsewhere.asked[:1]}"
                )
