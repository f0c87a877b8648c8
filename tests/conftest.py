"""What every test stands on: no network beyond loopback, none of the user's environment, and the recorded data."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

# In the background of a shell Ctrl-C is ignored, and processes inherit that: those that tests interrupt, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

with contextlib.suppress(ImportError):  # the servers' environments have none
    from hypothesis import HealthCheck, settings

    # On a busy machine any example can take seconds.
    settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")

# One thread a process, in those that tests start, too: workers share the cores, and threads that spin while they wait for one
# cost five times what they compute. Set before NumPy and torch are imported, which read it then.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

PROJECT = Path(__file__).resolve().parent.parent
SECRETS = ("OPENAI_API_KEY", "NVIDIA_API_KEY", "HF_TOKEN")


def pytest_configure(config: pytest.Config) -> None:
    """Give the data set library a cache of its own. It reads these variables once, when it is first imported."""
    folder = tempfile.TemporaryDirectory(prefix="auto-router-tests-")
    config.add_cleanup(folder.cleanup)
    os.environ["HF_HOME"] = folder.name
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for tests that import onnxruntime themselves


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def is_local(address: Any) -> bool:
    """Whether a socket address stays on this machine: a Unix socket's path, ``localhost``, loopback or 0.0.0.0."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0])
    if host in ("localhost", "0.0.0.0", ""):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection that would leave this machine fails the test that tries it."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def checked(self: socket.socket, address: Any) -> None:
        if not is_local(address):
            raise RuntimeError(f"a test tried to connect to {address}; only loopback is allowed")
        connect(self, address)

    def checked_ex(self: socket.socket, address: Any) -> int:
        if not is_local(address):
            raise RuntimeError(f"a test tried to connect to {address}; only loopback is allowed")
        return connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", checked)
    monkeypatch.setattr(socket.socket, "connect_ex", checked_ex)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and settings of the user's shell reach no test; no model hub is asked."""
    for name in list(os.environ):
        ours = name.startswith("AUTO_ROUTER_") and name not in ("AUTO_ROUTER_CACHE", "AUTO_ROUTER_DATA")
        if ours or name in SECRETS or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the project in which the demo has run, and what it printed. It runs once; each worker has a copy."""
    from tests.checkout import bash, copy_of_the_project

    base = tmp_path_factory.getbasetemp()
    first = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "first-demo"
    printed = first / "printed.txt"
    with FileLock(f"{first}.lock"):
        if not printed.exists():
            text = bash("python examples/quickstart/demo.py", copy_of_the_project(first / "project"))
            printed.write_text(text, encoding="utf-8")
    folder = tmp_path_factory.mktemp("demo") / "project"
    shutil.copytree(first / "project", folder, symlinks=True)
    return folder, printed.read_text(encoding="utf-8")


@pytest.fixture
def shared_data() -> Path:
    """The folder of recorded benchmark data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("AUTO_ROUTER_DATA") or PROJECT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no recorded data at {folder}; set AUTO_ROUTER_DATA to its folder")
    return folder
