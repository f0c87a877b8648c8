"""A real Postgres on loopback, and the client of it that the LiteLLM proxy keeps its keys with, for one test file.

Postgres is Debian's ``postgresql``; it runs as another user than root, in a folder of its own. The proxy's client needs
Prisma's query engine, which comes from npm (``make setup-keys``), see ``query_engine/engine.cjs``. Nothing is installed into
the proxy's environment: the client is made beside it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.servers import free_port

ENGINE = Path(__file__).parent / "query_engine" / "engine.cjs"
MODULES = Path(os.environ.get("AUTO_ROUTER_NODE_MODULES", ENGINE.parent / "node_modules"))
START_SECONDS = 60.0


def postgres_folder() -> Path | None:
    """Return where Postgres' programs are; None where there are none."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3].split(".")[0]))
    return versions[-1].parent if versions else None


def missing_parts() -> str | None:
    """Say what is missing to run the database; None where all is there."""
    if postgres_folder() is None:
        return "Postgres is not installed (Debian: apt-get install postgresql)"
    if shutil.which("node") is None or not MODULES.is_dir():
        return "the query engine is not installed: make setup-keys (needs node and npm)"
    if os.geteuid() == 0 and not _has_user("postgres"):
        return "Postgres does not run as root, and there is no user postgres"
    return None


@contextmanager
def postgres() -> Iterator[str]:
    """Run Postgres while the block runs; yields the URL of an empty database."""
    programs = postgres_folder()
    assert programs is not None
    user = "postgres" if os.geteuid() == 0 else None
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="auto-router-postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user)
        data, quiet = folder / "data", {"stdout": subprocess.DEVNULL, "user": user, "cwd": folder}
        subprocess.run([programs / "initdb", "-D", data, "-U", "litellm", "--auth=trust", "--no-sync"], check=True, **quiet)  # type: ignore[call-overload]
        settings = [f"unix_socket_directories={folder}", "listen_addresses=127.0.0.1", "fsync=off", "max_connections=40"]
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(port), *(word for one in settings for word in ("-c", one))],
            stderr=(folder / "log").open("wb"), **quiet,  # type: ignore[call-overload]
        )  # fmt: skip
        url = f"postgresql://litellm@127.0.0.1:{port}/postgres"
        try:
            until = time.monotonic() + START_SECONDS
            while subprocess.run([programs / "pg_isready", "-q", "-d", url], check=False).returncode:
                is_starting = server.poll() is None and time.monotonic() < until
                assert is_starting, (folder / "log").read_text()
                time.sleep(0.05)
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # ends connections, too
            server.wait(20)


def make_client(folder: Path, url: str) -> dict[str, str]:
    """Make the proxy's tables and its client in ``folder``; return what a proxy needs in its environment to use both."""
    proxy, prisma, extras = (_package(name) for name in ("litellm", "prisma", "litellm_proxy_extras"))
    shutil.copytree(prisma, folder / "prisma")
    schema = [line for line in (proxy / "proxy" / "schema.prisma").read_text().splitlines() if "binaryTargets" not in line]
    (folder / "schema.prisma").write_text("\n".join(schema))
    unused = folder / "unused"  # engines that are asked for, and not needed here
    unused.write_text("#!/bin/sh\n")
    unused.chmod(0o755)
    scripts = Path(shutil.which("prisma") or prisma.parents[3] / "bin" / "prisma").parent
    environment = {
        "DATABASE_URL": url, "DISABLE_SCHEMA_UPDATE": "true", "NODE_PATH": str(MODULES), "CHECKPOINT_DISABLE": "1",
        "PRISMA_QUERY_ENGINE_BINARY": str(ENGINE), "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).parents[2]}",
    }  # fmt: skip
    for name in ("QUERY_ENGINE_LIBRARY", "SCHEMA_ENGINE_BINARY", "FMT_BINARY"):
        environment[f"PRISMA_{name}"] = str(unused)
    generate: list[str | Path] = [
        "node",
        MODULES / "prisma" / "build" / "index.js",
        "generate",
        "--schema",
        folder / "schema.prisma",
    ]
    done = subprocess.run(generate, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = sorted((extras / "migrations").glob("*/migration.sql"), key=lambda path: path.parent.name)
    statements = "\n".join(step.read_text() for step in steps).encode()
    programs = postgres_folder()
    assert programs is not None
    subprocess.run([programs / "psql", "-q", "-v", "ON_ERROR_STOP=1", url], input=statements, capture_output=True, check=True)
    return environment


def _package(name: str) -> Path:
    found = find_spec(name)
    assert found is not None, name
    assert found.origin is not None, name
    return Path(found.origin).parent


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
