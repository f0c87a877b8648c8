"""Systems that lack what Linux has: the stages run without it. (mypy looks for such names, too: ``make check``.)"""

from __future__ import annotations

import ast
import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from auto_router.errors import ConfigError, advise_install, needs_extra
from auto_router.files import reserve_space
from auto_router.terminal import on_signals
from tests.checkout import ROOT
from tests.test_sends_nothing import COLLECT, few_prompts

MISSING = {
    "posix_fallocate": "import os; del os.posix_fallocate",
    "signal handlers of the event loop": """
import asyncio
def refuse(*_): raise NotImplementedError
asyncio.SelectorEventLoop.add_signal_handler = asyncio.SelectorEventLoop.remove_signal_handler = refuse
""",
    "fcntl": "import sys; sys.modules['fcntl'] = None",
}
RUN = """
import runpy, sys
sys.path.insert(0, ".")
from pathlib import Path
from auto_router.collect.replay import ReplayServer, load_recording

def run(*command):
    sys.argv = list(command)
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as ended:
        assert not ended.code, f"{command[0]} ended with {ended.code}"

folder = sys.argv[1]
jsons = [f"--{part}-json={folder}/hf_evaluations_{part}.json" for part in ("train", "test")]
rows = [f"--{part}-embeddings={folder}/hf_{part}_embeddings.npy" for part in ("train", "test")]
with ReplayServer(load_recording(Path("examples/quickstart/recording.jsonl.gz"))) as server:
    run("prepare_hf_data.py", "--dataset", f"{folder}/prompts.jsonl", "--pool", "examples/quickstart/pool.yaml", "--match-only",
        "--base-url", server.url, "--output-dir", folder)
run("generate_embeddings.py", *jsons, f"--output-dir={folder}")
run("nn_router.py", *rows, *jsons, "--baselines", f"--output-dir={folder}/artifacts")
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", MISSING)
def test_the_stages_run_without(what: str, tmp_path: Path) -> None:
    """One after the other in one process, which imports what they share once."""
    few_prompts(tmp_path / "prompts.jsonl")
    command = [sys.executable, "-c", MISSING[what] + RUN, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "artifacts" / "nn_router.pth").exists()


def test_signals_reach_the_loop_where_it_takes_no_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_signal_handler", refuse)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "remove_signal_handler", refuse)

    async def interrupted() -> None:
        called = asyncio.Event()
        with on_signals(called.set):
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.wait_for(called.wait(), 30)

    before = signal.getsignal(signal.SIGINT)
    asyncio.run(interrupted())
    assert signal.getsignal(signal.SIGINT) is before


def test_a_thread_of_a_host_runs_without_signals() -> None:
    async def run() -> str:
        with on_signals(lambda: None):
            return "done"

    with ThreadPoolExecutor() as pool:
        assert pool.submit(asyncio.run, run()).result() == "done"


@pytest.mark.parametrize("on", ["another system", "a network file system"])
def test_without_an_allocation_call_the_free_space_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, on: str
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    if on == "another system":
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    path = tmp_path / "file"
    path.touch()
    reserve_space(path, 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 95, 5))
    with pytest.raises(OSError, match="No space left") as raised:
        reserve_space(path, 10)
    assert raised.value.errno == errno.ENOSPC


@pytest.mark.parametrize("path", [*ROOT.glob("*.py"), ROOT / "auto_router" / "__init__.py"], ids=lambda path: path.name)
def test_an_older_python_comes_to_the_message(path: Path) -> None:
    """What is read before it must be syntax that Python 3.9 knows."""
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_an_older_python_is_told_so() -> None:
    code = "import sys; sys.version_info = (3, 10, 4); import auto_router"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].startswith("ImportError: auto-router needs Python 3.11 or newer; this is 3.10.4")


@pytest.mark.parametrize(
    ("face", "package", "extra"), [("prepare_hf_data", "jinja2", "collect"), ("nn_router", "joblib", "train")]
)
def test_a_missing_extra_is_named(face: str, package: str, extra: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; import {face}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"needs the package {package}, which is missing: {advise_install(extra)}" in done.stderr.splitlines()[-1]


def test_a_library_of_an_extra_that_cannot_be_loaded_is_told() -> None:
    expected = r"needs a package, which does not work \(libgomp.so.1: not found\): pip install"
    with pytest.raises(ConfigError, match=expected), needs_extra("train"):
        raise ImportError("libgomp.so.1: not found")


def test_a_module_of_our_own_that_is_missing_is_a_bug() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'auto_router\.nothing'$"), needs_extra("train"):
        __import__("auto_router.nothing")


def test_a_home_that_cannot_be_written_ends_in_one_line(tmp_path: Path) -> None:
    few_prompts(tmp_path / "prompts.jsonl")
    environment = {"PATH": os.environ["PATH"], "HOME": os.devnull}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    done = run("-c", COLLECT, str(tmp_path / "prompts.jsonl"), str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    jsons = [f"--{part}-json={tmp_path}/hf_evaluations_{part}.json" for part in ("train", "test")]
    done = run("generate_embeddings.py", *jsons, f"--output-dir={tmp_path}")
    assert done.returncode == 2
    assert "AUTO_ROUTER_CACHE" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
