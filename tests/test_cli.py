"""The one command: every stage and tool by one name, and the doctor's table."""

from __future__ import annotations

import importlib
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import auto_router
from auto_router import cli, doctor
from auto_router.artifacts import load_artifact
from auto_router.errors import ConfigError
from tests.checkout import ROOT
from tests.serve.made import save_made


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "auto_router", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name not in ("serve",)])
def test_every_command_shows_its_flags_under_its_own_name(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["auto-router"])
    with pytest.raises(SystemExit, match="0"):
        cli.main([name, "--help"])
    out = capsys.readouterr().out
    assert "--help" in out
    if not cli.COMMANDS[name][0].startswith("auto_router.") or name in ("doctor", "init", "completion"):
        assert out.startswith(f"usage: auto-router {name}")


def test_every_command_has_a_main() -> None:
    for module, _ in cli.COMMANDS.values():
        if "serve" not in module:
            assert callable(importlib.import_module(module).main)


def test_usage_version_and_unknown_commands() -> None:
    for arguments in ((), ("--help",)):
        done = run_command(*arguments)
        assert done.returncode == 0
        assert all(f"  {name}" in done.stdout for name in cli.COMMANDS)
    assert run_command("--version").stdout == f"auto-router {auto_router.__version__}\n"
    done = run_command("trian")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "there is no command 'trian' (did you mean 'train'?); commands are demo, init, collect" in done.stderr


def test_a_script_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["auto-router"])
    monkeypatch.setattr(cli, "COMMANDS", {"collect": ("no_such_script", "")})
    with pytest.raises(ConfigError, match=r"runs no_such_script\.py, which is not installed here"):
        cli.main(["collect"])


def test_the_package_gives_its_public_names() -> None:
    from auto_router import Decision, EmbeddingGenerator, ModelRouter

    assert (ModelRouter.__name__, Decision.__name__, EmbeddingGenerator.__name__) == (
        "ModelRouter", "Decision", "EmbeddingGenerator",
    )  # fmt: skip
    with pytest.raises(AttributeError, match="no attribute 'Modelrouter'"):
        auto_router.Modelrouter  # noqa: B018


POOL = """models:
  - {name: priced, api_key_env: DOCTOR_KEY, input_usd_per_mtok: 1.0, output_usd_per_mtok: 2.0}
  - {name: free, base_url: "http://127.0.0.1:9/v1"}
"""


def checks(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, str]]:
    doctor.main([*arguments, "--json"])
    found = json.loads(capsys.readouterr().out)["checks"]
    return {check["what"]: check for check in found}


def test_the_doctor_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = tmp_path / "pool.yaml"
    pool.write_text(POOL, encoding="utf-8")
    monkeypatch.delenv("DOCTOR_KEY", raising=False)
    given = ("--pool", str(pool), "--router", str(tmp_path / "none.pth"))
    found = checks(capsys, *given)
    assert (found["key DOCTOR_KEY"]["state"], found["key DOCTOR_KEY"]["found"]) == ("missing", "priced")
    assert found["prices"]["found"] == "free"
    assert (found["artifact"]["state"], found["pool"]["state"]) == ("missing", "ok")
    monkeypatch.setenv("DOCTOR_KEY", "a secret that is never shown")
    doctor.main(given)
    out = capsys.readouterr().out
    assert "secret" not in out


def test_the_doctor_ends_with_1_where_something_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"no artifact")
    with pytest.raises(SystemExit, match="1"):
        doctor.main(["--pool", str(tmp_path / "none.yaml"), "--router", str(broken)])
    assert "is damaged or not an artifact" in " ".join(capsys.readouterr().out.split())
    pool = tmp_path / "pool.yaml"
    pool.write_text("models: [{name: a, no_such_field: 1}]", encoding="utf-8")
    with pytest.raises(SystemExit, match="1"):
        doctor.main(["--pool", str(pool), "--router", str(tmp_path / "none.pth")])


def test_the_doctor_opens_the_artifact_and_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = checks(capsys, "--pool", str(tmp_path / "none.yaml"), "--router", str(save_made(tmp_path / "made.pth")))
    assert [found[what]["state"] for what in ("artifact", "encoder", "decision")] == ["ok", "ok", "ok"]
    assert found["pool"]["state"] == "missing"


def test_the_doctor_tells_a_pool_of_other_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool, router = tmp_path / "pool.yaml", save_made(tmp_path / "made.pth")
    pool.write_text("models: [{name: other}]", encoding="utf-8")
    found = checks(capsys, "--pool", str(pool), "--router", str(router))["pool and artifact"]
    assert (found["state"], found["found"]) == ("missing", "no model in common")
    pool.write_text(f"models: [{{name: {load_artifact(router).model_names[0]}}}]", encoding="utf-8")
    assert "pool and artifact" not in checks(capsys, "--pool", str(pool), "--router", str(router))


def test_the_doctor_knocks_at_endpoints_and_sends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as free:
        there, gone = server.getsockname()[1], free.getsockname()[1]
        free.close()
        pool = tmp_path / "pool.yaml"
        models = "".join(f"  - {{name: m{port}, base_url: 'http://127.0.0.1:{port}/v1'}}\n" for port in (there, gone))
        pool.write_text(f"models:\n{models}", encoding="utf-8")
        given = ["--pool", str(pool), "--router", str(tmp_path / "none.pth"), "--json"]
        doctor.main(given)
        assert "endpoint" not in capsys.readouterr().out
        with pytest.raises(SystemExit, match="1"):
            doctor.main([*given, "--endpoints"])
        server.settimeout(5)
        connection, _ = server.accept()
        with connection:
            connection.settimeout(5)
            assert connection.recv(100) == b""
    told = json.loads(capsys.readouterr().out)["checks"]
    states = {check["found"].split(": ")[0]: check["state"] for check in told if check["what"] == "endpoint"}
    assert states == {f"127.0.0.1:{there}": "ok", f"127.0.0.1:{gone}": "wrong"}


def test_a_package_that_is_missing_is_named_with_the_python_that_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a new shell does not use the environment."""

    def lacking(place: str) -> None:
        raise ModuleNotFoundError("No module named 'tabulate'", name="tabulate")

    monkeypatch.setattr(importlib, "import_module", lacking)
    with pytest.raises(ConfigError, match=r"No module named 'tabulate': .*this Python, .*; activate the environment"):
        cli.open_command("train")
