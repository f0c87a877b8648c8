"""Completion knows every command and flag, because it is made of the parsers themselves."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from auto_router import cli, completion
from auto_router.errors import ConfigError


@pytest.fixture(scope="module")
def found() -> dict[str, argparse.ArgumentParser]:
    return dict(completion.parsers())


def test_every_command_gives_its_parser(found: dict[str, argparse.ArgumentParser]) -> None:
    assert list(found) == list(cli.COMMANDS)
    assert "--dataset" in found["collect"].format_help()
    assert "--operating-point" in found["serve"].format_help()
    assert all(parser.prog == f"auto-router {name}" for name, parser in found.items())
    assert argparse.ArgumentParser().parse_args([]) == argparse.Namespace()  # parsing works again


def test_help_of_every_command_shows_three_examples(found: dict[str, argparse.ArgumentParser]) -> None:
    for name, parser in found.items():
        shown = (parser.epilog or "") + (parser.description or "")
        count = sum(line.lstrip().startswith(("python ", "auto-router ", "model=$(python")) for line in shown.splitlines())
        assert count >= 3, name


def test_bash_completes_commands_and_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    completion.main(["bash"])
    script = tmp_path / "complete.bash"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    for typed, expected in ((["do"], {"doctor"}), (["train", "--tri"], {"--trials"}), (["edit", "re"], {"remove", "rename"})):
        words = " ".join(f"'{word}'" for word in ["auto-router", *typed])
        code = (
            f"source {script}; COMP_WORDS=({words}); COMP_CWORD={len(typed)}; "
            "$(complete -p auto-router | sed 's/.*-F \\([^ ]*\\).*/\\1/'); printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
        assert expected <= set(done.stdout.split()), done


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(ModuleNotFoundError, match=r"\[completion\]'"):
        completion.main(["zsh"])


def test_a_script_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "COMMANDS", {"collect": ("no_such_script", "")})
    with pytest.raises(ConfigError, match=r"runs no_such_script\.py, which is not installed here"):
        completion.find_parser("collect")
