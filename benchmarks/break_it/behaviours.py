"""How an endpoint can misbehave: one function each, by the name under which it is asked (``/NAME/chat/completions``).

``ANSWER`` is the right answer to every question; a behaviour in ``MAY_BE_RIGHT`` gives it in some odd form, and a label 1 is
right for it. Of all others nothing is to be learned: the label must be unknown, with a reason.
"""

from __future__ import annotations

import gzip
import zlib
from functools import cache, partial, reduce
from typing import Any

from break_it.hostile import Asked, Behaviour, completion, encode

ANSWER = "forty-two"
WORD = encode(completion(ANSWER))
MB = 2**20


def event(value: Any) -> bytes:
    return b"data: " + encode(value) + b"\n\n"


def delta(text: Any, finish: Any = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def nest(depth: int, inner: str = "1") -> str:
    return "[" * depth + inner + "]" * depth


def nest_objects(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


@cache
def packed_space(size: int, layers: int = 1) -> bytes:
    """Return ``size`` bytes of white space, packed ``layers`` times over."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(b" " * MB) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b" " * MB) + packer.flush(zlib.Z_FULL_FLUSH)  # the same bytes for each further one
    return reduce(lambda data, _: gzip.compress(data, 9), range(layers - 1), head + block * (size // MB))


def _flood(asked: Asked, size: int, chunked: bool) -> None:
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    asked.send(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{length}\r\n\r\n".encode())
    block = b" " * MB
    for _ in range(size // MB):
        asked.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)


def _packed(asked: Asked, body: bytes, encoding: str) -> None:
    asked.reply(body, f"Content-Encoding: {encoding}")


def _raw(asked: Asked, data: bytes) -> None:
    asked.send(data)
    asked.connection.close()


def _begin_body(asked: Asked) -> None:
    asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + WORD[:20])


def _trickle_body(asked: Asked) -> None:
    _begin_body(asked)
    asked.repeat(b" ", 0.1)


def _trickle_head(asked: Asked) -> None:
    asked.send(b"HTTP/1.1 200 OK\r\n")
    asked.repeat(b"a", 0.1)


def _endless_head(asked: Asked) -> None:
    asked.send(b"HTTP/1.1 200 OK\r\n")
    asked.repeat(b"X-Filler: " + b"a" * 4000 + b"\r\n")


def _reset_in_body(asked: Asked) -> None:
    _begin_body(asked)
    asked.reset()


def _hang_up_in_body(asked: Asked) -> None:
    _begin_body(asked)
    asked.connection.close()


def _body(asked: Asked, data: bytes, status: str = "200 OK") -> None:
    asked.reply(data, status=status)


def with_headers(*headers: str, status: str = "200 OK", data: bytes = b"{}") -> Behaviour:
    return lambda asked: asked.reply(data, *headers, status=status)


def body(value: Any, status: str = "200 OK") -> Behaviour:
    return partial(_body, data=value if isinstance(value, bytes) else encode(value), status=status)


def raw(data: bytes) -> Behaviour:
    return partial(_raw, data=data)


WIRE: dict[str, Behaviour] = {
    "trickle-body": _trickle_body,
    "trickle-head": _trickle_head,
    "endless-head": _endless_head,
    "one-long-header": with_headers("X-Filler: " + "a" * 10 * MB, data=WORD),
    "silent": lambda asked: asked.wait(30),
    "100mb": partial(_flood, size=100 * MB, chunked=False),
    "100mb-chunked": partial(_flood, size=100 * MB, chunked=True),
    "gzip-bomb": lambda asked: _packed(asked, packed_space(2048 * MB), "gzip"),
    "gzip-bomb-twice": lambda asked: _packed(asked, packed_space(4096 * MB, 2), "gzip, gzip"),
    "gzip-bomb-thrice": lambda asked: _packed(asked, packed_space(4096 * MB, 3), "gzip, gzip, gzip"),
    "gzip-300-times": partial(_packed, body=WORD, encoding=", ".join(["gzip"] * 300)),
    "deflate-bomb": lambda asked: _packed(asked, zlib.compress(b" " * (256 * MB), 9), "deflate"),
    "gzip-cut": partial(_packed, body=gzip.compress(WORD)[:-12], encoding="gzip"),
    "gzip-lie": partial(_packed, body=WORD, encoding="gzip"),
    "br-lie": partial(_packed, body=WORD, encoding="br"),
    "zstd-lie": partial(_packed, body=WORD, encoding="zstd"),
    "encoding-unknown": partial(_packed, body=WORD, encoding="rot13"),
    "100-continue": lambda asked: asked.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "103-hints": lambda asked: asked.repeat(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
    "101-upgrade": raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + WORD),
    "reset-at-once": lambda asked: asked.reset(),
    "reset-in-body": _reset_in_body,
    "hang-up": lambda asked: asked.connection.close(),
    "hang-up-in-body": _hang_up_in_body,
    "no-http": raw(b"SSH-2.0-OpenSSH_9.0\r\n"),
    "http-0.9": raw(WORD),
    "binary": raw(bytes(range(256)) * 40),
    "length-negative": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + WORD),
    "length-huge": raw(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 400 + b"\r\n\r\n" + WORD),
    "length-twice": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\n" + WORD),
    "chunk-huge": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n" + WORD),
    "chunk-negative": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n" + WORD),
    "chunk-extension": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;" + b"x" * 10 * MB),
    "status-999": body(WORD, "999 Odd"),
    "status-huge": raw(b"HTTP/1.1 " + b"9" * 400 + b" Odd\r\n\r\n"),
    "status-204": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "status-words": raw(b"HTTP/1.1 OK 200\r\n\r\n" + WORD),
    "retry-never": with_headers("Retry-After: " + "9" * 400, status="429 Slow"),
    "retry-nan": with_headers("Retry-After: nan", status="429 Slow"),
    "retry-infinite": with_headers("Retry-After: inf", "retry-after-ms: 1e999", status="429 Slow"),
    "retry-past": with_headers("Retry-After: -1e9", status="503 Slow"),
    "retry-date": with_headers("Retry-After: Fri, 99 Foo 99999 99:99:99 GMT", status="503 Slow"),
}


def _answer_with(**fields: Any) -> bytes:
    return encode(completion(ANSWER) | fields)


def _usage(text: str) -> bytes:
    """An answer whose usage is written as it stands, which no JSON library would write."""
    return encode(completion(ANSWER, usage={"HERE": 0})).replace(b'{"HERE": 0}', text.encode())


ENORMOUS, ENDLESS_DIGITS = "1" + "0" * 400, "9" * 5000
JSON: dict[str, Behaviour] = {
    **{
        f"usage-{name}": body(_usage(f'{{"prompt_tokens": {value}, "completion_tokens": {value}, "cost": {value}}}'))
        for name, value in {
            "10pow400": ENORMOUS, "5000-digits": ENDLESS_DIGITS, "1e400": "1e400", "nan": "NaN", "minus": "-5",
            "infinite": "-Infinity", "text": '"ten"', "list": "[1]", "object": '{"a": 1}', "true": "true",
            "deep": nest(900), "1e308": "1e308",
        }.items()
    },
    "usage-is-list": body(_usage("[1, 2]")),
    "finish-10pow400": body(encode(completion(ANSWER, finish="HERE")).replace(b'"HERE"', ENORMOUS.encode())),
    "finish-object": body(completion(ANSWER, finish={"a": 1})),
    "index-10pow400": body(WORD.replace(b'"index": 0', b'"index": ' + ENORMOUS.encode())),
    "error-code-10pow400": body(f'{{"error": {{"message": "m", "code": {ENORMOUS}}}}}'.encode(), "400 Bad"),
    "error-code-5000": body(f'{{"error": {{"code": {ENDLESS_DIGITS}}}}}'.encode(), "400 Bad"),
    "error-code-200": body(f'{{"error": {{"message": "m", "code": {ENORMOUS}}}}}'.encode()),
    **{f"deep-{depth}": body(nest(depth).encode()) for depth in (10**5,)},
    "deep-content": body(encode(completion("HERE")).replace(b'"HERE"', nest(10**5).encode())),
    "deep-objects": body(nest_objects(10**5).encode()),
    **{
        f"deep-{place}-{depth}": body(
            f'{{"error": {{"{place}": {nest(depth)}}}, "usage": {nest_objects(depth)}}}'.encode(), status
        )
        for depth in (300, 600, 900, 980)
        for place, status in (("message", "500 Bad"), ("code", "400 Bad"), ("detail", "200 OK"))
    },
    **{
        f"deep-reasoning-{depth}": body(
            encode(completion(ANSWER)).replace(b'"content"', f'"reasoning_details": {nest(depth)}, "content"'.encode())
        )
        for depth in (300, 900, 980)
    },
    "names-twice": body(WORD[:-1] + b', "choices": [{"index": 0, "message": {"content": "no"}}]}'),
    "content-twice": body(WORD.replace(b'"content"', b'"content": "seven", "content"')),
    "surrogates": body(WORD.replace(b"forty", b"\\ud800 forty\\udfff")),
    "surrogates-error": body(b'{"error": {"message": "\\ud800 is \\udfff", "code": "\\ud800"}}', "400 Bad"),
    "surrogates-finish": body(completion(ANSWER, finish="\ud800")),
    "surrogates-name": body(encode(completion(ANSWER) | {"\ud800": "\udfff"})),
    "not-utf-8": body(WORD.replace(b"forty", b"\xff\xfe\xfa forty")),
    "utf-16": body(WORD.decode().encode("utf-16")),
    "utf-16-be": body(WORD.decode().encode("utf-16-be")),
    "utf-32": body(WORD.decode().encode("utf-32")),
    "utf-8-bom": body(b"\xef\xbb\xbf" + WORD),
    "nul": body(WORD.replace(b"forty", b"\x00forty")),
    "nul-escaped": body(WORD.replace(b"forty", b"\\u0000forty")),
    "terminal": body({"error": {"message": "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b2J\u202egnp", "code": "\x1b[1m"}}, "400 Bad"),
    "empty": body(b""),
    "null": body(b"null"),
    "number": body(b"17"),
    "list-of-null": body(b"[null]"),
    "choices-object": body(_answer_with(choices={"0": 1})),
    "choices-deep": body(_answer_with(choices=[[[[]]]])),
    "choices-null": body(_answer_with(choices=[None])),
    "message-list": body(_answer_with(choices=[{"message": [1]}])),
    "content-number": body(completion(10**400)),
    "content-parts": body(completion([{"type": ["text"], "text": {"value": {"value": 1}}}, None, 3, {"type": None}])),
    "content-many-parts": body(completion([{"type": "text", "text": ""}] * 100_000)),
    "error-true": body({"error": True}),
    "error-list": body({"error": [None]}),
    "error-many": body([{"error": {"message": "x"}}] * 3),
    "html": body(b"<html><body><h1>502 Bad Gateway</h1></body></html>", "502 Bad"),
    "other-model": body(_answer_with(model="an-entirely-different-model")),
    "model-object": body(_answer_with(model={"a": [1]})),
    "stream-unasked": body(event(delta(ANSWER)) + event(delta("", "stop")) + b"data: [DONE]\n\n"),
    "stream-cut": body(event(delta(ANSWER))),
    "stream-comments": body(b": keep-alive\n" * 100_000),
    "stream-odd": body(event(delta({"a": 1})) + event(delta([[1]])) + event({"choices": 7}) + event([]) + b"data: [DONE]\n\n"),
    "stream-odd-delta": body(
        event({"choices": [{"delta": [1]}]}) + event({"choices": [{"delta": {"content": [7]}}]}) + b"data: [DONE]\n\n"
    ),
    "stream-many": body(event(delta("a")) * 150_000 + event(delta("", "stop"))),
    "stream-many-parts": body(event(delta([{"type": "text", "text": "a"}])) * 60_000 + event(delta("", "stop"))),
    "stream-one-event": body(b"data: {\n" * 300_000 + b"\n"),
}  # fmt: skip
MAY_BE_RIGHT = (
    "usage-", "finish-", "index-", "names-twice", "content-twice", "surrogates", "not-utf-8", "utf-", "nul", "other-model",
    "model-object", "stream-unasked", "deep-reasoning", "content-parts", "gzip-", "one-long-header", "status-", "http-0.9",
    "length-", "101-", "br-", "zstd-", "encoding-",
)  # fmt: skip
