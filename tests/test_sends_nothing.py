"""Nothing leaves the machine: every stage in a network namespace without routes, its native system calls watched.

A patched Python socket would not see what C++ libraries send, so strace watches the processes. What they try to reach beyond
loopback (name servers included), and what they leave in a fresh home folder, is what a user's machine would give away.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import ROOT

CALLS = "connect,sendto,sendmsg,sendmmsg"
OUTWARD = re.compile(r"sa_family=AF_INET6?,")
LOOPBACK = re.compile(r'inet_addr\("127\.|"::1"|"::ffff:127\.')

COLLECT = """
import subprocess, sys
from pathlib import Path
from auto_router.collect.replay import ReplayServer, load_recording
with ReplayServer(load_recording(Path("examples/quickstart/recording.jsonl.gz"))) as server:
    command = [sys.executable, "prepare_hf_data.py", "--dataset", sys.argv[1], "--pool", "examples/quickstart/pool.yaml",
               "--match-only", "--base-url", server.url, "--output-dir", sys.argv[2]]
    sys.exit(subprocess.run(command).returncode)
"""


def namespace() -> list[str]:
    """Return how to run a command in a namespace of its own under strace; skip the test where that cannot be done."""
    for tool in ("unshare", "strace", "ip"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    enter = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no network namespaces")
    return enter


def few_prompts(path: Path) -> None:
    """Every seventeenth prompt of the quickstart: some 40, with and without images."""
    lines = (ROOT / "examples/quickstart/prompts.jsonl").read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[::17]) + "\n", encoding="utf-8")


def outward_calls(trace: Path) -> list[str]:
    return [line for line in trace.read_text().splitlines() if OUTWARD.search(line) and not LOOPBACK.search(line)]


@pytest.mark.slow
def test_no_stage_looks_anything_up_or_leaves_a_foreign_folder(tmp_path: Path) -> None:
    enter, home = namespace(), tmp_path / "home"
    home.mkdir()
    few_prompts(tmp_path / "prompts.jsonl")
    data, artifacts = tmp_path / "data", tmp_path / "artifacts"
    jsons = [f"--{part}-json={data}/hf_evaluations_{part}.json" for part in ("train", "test")]
    rows = [f"--{part}-embeddings={data}/hf_{part}_embeddings.npy" for part in ("train", "test")]
    stages = {
        "collect": ["-c", COLLECT, str(tmp_path / "prompts.jsonl"), str(data)],
        "encode": ["generate_embeddings.py", *jsons, f"--output-dir={data}"],
        "train": ["nn_router.py", *rows, *jsons, f"--output-dir={artifacts}"],
        "route": ["model_router.py", "What is 2 + 2?", f"--router={artifacts}/nn_router.pth"],
    }
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    for name, arguments in stages.items():
        trace = tmp_path / f"{name}.trace"
        watched = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={CALLS}", "-o", str(trace), sys.executable, *arguments]
        command = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", *watched]
        done = subprocess.run(
            [*enter, *command], cwd=ROOT, env={**kept, "HOME": str(home)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{name}: {done.stderr[-2000:]}"
        assert outward_calls(trace) == [], f"{name} tried to reach out"
    folders = sorted(str(path.relative_to(home)) for path in home.glob("*/*"))
    assert set(folders) <= {".cache/auto-router", ".cache/huggingface"}, folders
    assert not [path for path in home.rglob("*") if path.is_file() and "auto-router" not in path.parts]
    metrics = json.loads((artifacts / "metrics.json").read_text())
    assert metrics["rows"] > 5


def test_the_watch_sees_what_a_native_library_sends(tmp_path: Path) -> None:
    """A look-up by the C library, which no patched Python socket would see."""
    trace, code = tmp_path / "trace", "import ctypes; ctypes.CDLL(None).gethostbyname(b'telemetry.example.com')"
    watched = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={CALLS}", "-o", str(trace), sys.executable, "-c", code]
    subprocess.run([*namespace(), *watched], check=True, capture_output=True)
    assert outward_calls(trace)
