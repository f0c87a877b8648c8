"""The installed wheel, used from another directory: all that a service needs is one install and one artifact."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from auto_router.artifacts import Artifact, save_artifact
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.local import LocalEncoder
from auto_router.learn.mlp import NetworkConfig, RouterNetwork
from tests.checkout import ROOT, copy_of_the_project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files, unpacked as an installation of their own, away from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = copy_of_the_project(folder / "source")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist"), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    target = folder / "site"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return target


def test_the_wheel_routes_from_another_directory(installed: Path, tmp_path: Path) -> None:
    spec = EmbeddingGenerator(LocalEncoder()).spec
    network = RouterNetwork(NetworkConfig(384 + 1280, 2, (8,), 0.0)).eval()
    with torch.no_grad():
        network.output.weight.zero_()
        network.output.bias.copy_(torch.tensor([2.0, -2.0]))
    save_artifact(tmp_path / "router.pth", Artifact(network, ("good", "bad"), spec))
    code = f"""
import auto_router
assert auto_router.__file__.startswith({str(installed)!r}), auto_router.__file__
from auto_router import ModelRouter
print(ModelRouter("router.pth", device="cpu").route("What is in cat.jpg"))
"""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "good", done.stderr


def test_the_installed_command_runs_the_stages(installed: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    code = "import auto_router.stages as s; print(s.__file__, s.ModelRouter.__name__)"
    stages = f"{installed / 'auto_router' / 'stages' / '__init__.py'} ModelRouter\n"
    for arguments, said in ((["-m", "auto_router", "route", "--help"], "usage: auto-router route"), (["-c", code], stages)):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.stdout.startswith(said), done.stderr


def test_the_wheel_claims_one_name_and_holds_the_stages_and_the_licence(installed: Path) -> None:
    (wheel,) = (installed.parent / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"auto_router"}
    scripts = ("prepare_hf_data", "generate_embeddings", "nn_router", "model_router")
    assert {f"auto_router/stages/{name}.py" for name in scripts} <= set(names)
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "auto_router").rglob("*.py")}
    assert modules <= set(names), "every folder of the package is in pyproject.toml"
    page = [f"auto_router/assess/page/{name}" for name in ("report.html.jinja", "page.css", "page.js", "explorer.js")]
    audit = [f"auto_router/collect/page/{name}" for name in ("audit.html.jinja", "audit.css", "audit.js")]
    vocabulary = [f"auto_router/encode/vocabulary/{name}" for name in ("tokenizer.json", "NOTICE.md")]
    for name in ("auto_router/py.typed", *page, *audit, *vocabulary):
        assert name in names
    assert any(name.endswith("LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests", "examples", "benchmarks"))]
