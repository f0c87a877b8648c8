"""Scores for answers that no reference can judge: unit tests for code, a JSON schema, an exact tool call, or your own function.

A scorer is called with the question and a response's text, free of reasoning, and returns 0 to 1, or None where it cannot
tell. Whatever it raises is unknown, never 0. ``question.row`` holds the columns of the data set.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import json
import math
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from tqdm import tqdm

from auto_router.collect.judge import Verdict
from auto_router.collect.matching.reasoning import strip_reasoning
from auto_router.collect.question import Question
from auto_router.collect.references import read_printed
from auto_router.collect.reply import Response, first_message, load_reply
from auto_router.data.json_files import read_json
from auto_router.errors import ConfigError, needs_extra

Scorer = Callable[[Question, str], float | None]
SCORER_GROUP = "auto_router.scorers"  # of entry points
CPU_SECONDS, WALL_SECONDS = 10, 60
MAX_MEMORY_BYTES, MAX_FILE_BYTES = 2**30, 2**24
_FENCE = re.compile(r"```[ \t]*\w*[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)
# Leaves the network: into a user and a network namespace, or, as root where those are refused, a network namespace alone.
_ISOLATE = """
def isolate():
    import ctypes, os, sys
    if sys.platform != 'linux':
        return 'this system has no network namespaces'
    libc = ctypes.CDLL(None, use_errno=True)
    if any(libc.unshare(flags) == 0 for flags in (0x50000000, 0x40000000)):
        return ''
    return 'network namespaces are refused: ' + os.strerror(ctypes.get_errno())
"""
# Run before any of the program, which begins only if every limit is set.
_START = """
import resource, runpy, sys
isolate()
for kind, limit in {limits}:
    resource.setrlimit(getattr(resource, kind), limit)
sys.stderr.write('{token}\\n')
sys.stderr.flush()
runpy.run_path('program.py', run_name='__main__')
"""


def load_scorer(name: str) -> Scorer:
    """Return a ready scorer, one of the entry points ``auto_router.scorers``, or the function of ``module:function``.

    Raises:
        ConfigError: there is none of this name, or it cannot be imported.
    """
    if name in SCORERS:
        if SCORERS[name] is score_by_tests and (reason := explain_open_network()):
            tqdm.write(f"{name}: the code of models can reach the network from here ({reason}); use a container without one")
        return SCORERS[name]
    found = {point.name: point for point in entry_points(group=SCORER_GROUP)}
    module, _, function = name.partition(":")
    try:
        if name in found:
            scorer = found[name].load()
        elif function:
            scorer = getattr(importlib.import_module(module), function)
        else:
            known = ", ".join([*SCORERS, *found])
            raise ConfigError(f"--scorer {name!r} is unknown; give one of {known}, or your own as module:function")
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"--scorer {name!r} cannot be loaded ({error}); it must be importable from here") from error
    if not callable(scorer):
        raise ConfigError(f"--scorer {name!r} is a {type(scorer).__name__}; it must be a function of (question, response)")
    loaded: Scorer = scorer
    return loaded


def score_response(scorer: Scorer, question: Question, answer: Response) -> Verdict:
    """Return a scorer's verdict; unknown, with the reason, where there is no answer, it raises, or gives no score.

    Calls of tools beside the text are what the scorer of tool calls reads, and one of your own where there is no text.
    """
    calls = find_tool_calls(answer.body)
    if calls and (scorer is score_by_tool_call or (answer.text is None and scorer not in SCORERS.values())):
        answer = replace(answer, text=calls)
    text = strip_reasoning(answer.text) if answer.text is not None else None
    if answer.text is None or not text:
        return Verdict(None, answer.error or ("no answer" if answer.text is None else "reasoning without an answer"))
    try:  # where there was no reasoning, every space counts: the body of a function begins with some
        score = scorer(question, answer.text if answer.text.strip() == text else text)
    except Exception as error:  # noqa: BLE001  it is not our code: whatever fails in it, the answer's worth is unknown
        return Verdict(None, f"scorer: {type(error).__name__}: {' '.join(str(error).split())[:200]}", "scorer")
    if score is None:
        return Verdict(None, "scorer: it could not tell", "scorer")
    if not isinstance(score, int | float) or not math.isfinite(score) or not 0 <= score <= 1:
        return Verdict(None, f"scorer: {score!r:.80} is no number from 0 to 1", "scorer")
    if answer.finish_reason == "length" and score < 1:
        return Verdict(None, "cut off at max_tokens before a right answer", "scorer")
    return Verdict(float(score), "scorer", "scorer")


def score_by_tests(question: Question, text: str) -> float | None:
    """Run the unit tests of a HumanEval- or MBPP-shaped row on the code of a response: 1 if all pass, else 0.

    The program runs in a process of its own, in an empty folder, with limits on CPU time, wall time, memory and files, and
    without a network where the system allows it (:func:`explain_open_network`). That stops mistakes, not attackers, who can
    still read files: run it where code of strangers may run, such as a container.

    Raises:
        ValueError: the row has no tests, or no limits can be set here.
    """
    row, token = question.row, secrets.token_hex(16)
    tests = read_printed(row.get("test_list"))
    if isinstance(row.get("test"), str) and row.get("entry_point"):
        checks = f"{row['test']}\ncheck({row['entry_point']})"
    elif isinstance(tests, list) and tests:
        checks = "\n".join(map(str, tests))
    else:
        raise ValueError("the row has no tests: 'test' and 'entry_point', or 'test_list'")
    imports = read_printed(row.get("test_imports"))
    setup = [*(imports if isinstance(imports, list) else []), row.get("test_setup_code") or ""]
    code = _read_code(text, str(row.get("entry_point") or ""), str(row.get("prompt") or ""))
    # Only a program that comes to its end knows the token: one that leaves early, with code 0, has passed nothing.
    parts = [*map(str, setup), code, checks, f"import sys as _sys; _sys.stderr.write('\\n{token}'); _sys.stderr.flush()"]
    passed = run_limited("\n".join(parts), token)
    return None if passed is None else float(passed)


def _read_code(text: str, entry_point: str, prompt: str) -> str:
    """Return the code of a response: its fenced blocks, else all of it; behind the prompt where it is only the body."""
    blocks = _FENCE.findall(text)
    code = "\n\n".join(blocks) if blocks else text
    if entry_point and not re.search(rf"^\s*(?:async\s+)?def\s+{re.escape(entry_point)}\b", code, re.MULTILINE):
        return prompt + code
    try:  # a whole function may lean on what stands above it in the prompt: imports, helpers
        ast.parse(prompt)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code
    return f"{prompt}\n{code}" if entry_point else code


@functools.lru_cache(maxsize=1)
def explain_open_network() -> str:
    """Return why programs that are run with limits can reach the network on this system; "" where they cannot."""
    probe = [sys.executable, "-I", "-c", f"{_ISOLATE}\nprint(isolate())"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=WALL_SECONDS)
    return done.stdout.strip() if done.returncode == 0 else f"the test of it failed: {done.stderr.strip()[-200:]}"


def run_limited(program: str, token: str) -> bool | None:
    """Run a Python program with limits; return whether it ended by writing ``token``, None where it could not be run.

    Raises:
        ValueError: this system sets no limits for processes (Windows).
    """
    if sys.platform == "win32":
        raise ValueError("this system sets no limits for processes; run Stage 1 on Linux or macOS")
    limits = {"RLIMIT_CPU": (CPU_SECONDS, CPU_SECONDS + 1), "RLIMIT_FSIZE": (MAX_FILE_BYTES,) * 2, "RLIMIT_CORE": (0, 0)}
    limits |= {"RLIMIT_AS": (MAX_MEMORY_BYTES,) * 2} if sys.platform == "linux" else {}  # macOS refuses to set it
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.write_text(program, encoding="utf-8", errors="replace")
        start = secrets.token_hex(16)
        command = [sys.executable, "-I", "-c", _ISOLATE + _START.format(limits=list(limits.items()), token=start)]
        with (Path(folder) / "said").open("w+b") as said:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
            try:
                code = process.wait(WALL_SECONDS)
            except subprocess.TimeoutExpired:
                code = -signal.SIGKILL
            finally:
                _end_group(process)
            said.seek(0)
            text = said.read()
    return code == 0 and text.endswith(token.encode()) if text.startswith(start.encode()) else None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a program and whatever it started."""
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all of it has ended
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def score_by_schema(question: Question, text: str) -> float:
    """Whether a response is JSON, bare or fenced, that the row's ``schema`` (or ``json_schema``) allows.

    Raises:
        ValueError: the row has no valid schema.
    """
    with needs_extra("collect"):
        import jsonschema
    schema = next((read_printed(question.row[name]) for name in ("schema", "json_schema") if question.row.get(name)), None)
    if not isinstance(schema, Mapping):
        raise ValueError("the row has no 'schema' column with a JSON schema")
    kind = jsonschema.validators.validator_for(schema)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(f"the row's schema is none: {error.message}") from error
    try:
        value = json.loads(_bare_json(text))
    except (ValueError, RecursionError):
        return 0.0
    return float(kind(schema).is_valid(value))


def score_by_tool_call(question: Question, text: str) -> float:
    """Whether a response is the tool call (or the list of calls) of a reference, to the letter: names and arguments.

    A model that was asked with tools calls them beside its text, one without writes the call as JSON.

    Raises:
        ValueError: no reference is a tool call.
    """
    wanted = [calls for reference in question.references if (calls := read_tool_calls(reference)) is not None]
    if not wanted:
        raise ValueError('no reference is a tool call, as {"name": …, "arguments": {…}}')
    return float(read_tool_calls(_bare_json(text)) in wanted)


def _bare_json(text: str) -> str:
    """Return the JSON of a response that is nothing else, or that has it in its only fenced block."""
    blocks = _FENCE.findall(text)
    return (blocks[0] if len(blocks) == 1 else text).strip()


SCORERS: Mapping[str, Scorer] = {
    "python-tests": score_by_tests,
    "json-schema": score_by_schema,
    "tool-call": score_by_tool_call,
}


def find_tool_calls(body: str | None) -> str | None:
    """Return the calls of tools in the body of a reply as a JSON list of names and arguments; None where it has none.

    They stand beside the text: as ``tool_calls`` or the older ``function_call`` of a chat completion, as ``function_call``
    items of a reply of the Responses API, or as ``tool_use`` parts of the content.
    """
    try:
        message = first_message(load_reply(body or "")[0])
    except (ValueError, RecursionError):
        return None
    calls, content = message.get("tool_calls"), message.get("content")
    found = [call for call in (calls if isinstance(calls, list) else []) if isinstance(call, Mapping)]
    parts = [part for part in (content if isinstance(content, list) else []) if isinstance(part, Mapping)]
    found += [part for part in parts if part.get("type") in ("tool_use", "tool_call", "function_call")]
    found += [message["function_call"]] if isinstance(message.get("function_call"), Mapping) else []
    return json.dumps(found) if found else None


def read_tool_calls(text: str) -> list[str] | None:
    """Return one call, or a list of them, as texts that are equal where the calls are; None for any other text."""
    value, calls = read_json(text), []
    for call in value if isinstance(value, list) else [value]:
        inner = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
            return None
        given: Any = next((inner[name] for name in ("arguments", "parameters", "input") if inner.get(name) is not None), {})
        calls.append(json.dumps([inner["name"], _read_arguments(given)], sort_keys=True))
    return calls or None


def _read_arguments(given: Any) -> Any:
    """Return arguments as the object that they are; models write it as a text of JSON, empty where there are none."""
    if not isinstance(given, str):
        return given
    return read_json(given, otherwise=given) if given.strip() else {}
