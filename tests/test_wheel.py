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
from tests.checkout import copy_of_the_project

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
import model_router, auto_router
assert model_router.__file__.startswith({str(installed)!r}), model_router.__file__
assert auto_router.__file__.startswith({str(installed)!r})
from model_router import ModelRouter
print(ModelRouter("router.pth", device="cpu").route("What is in cat.jpg"))
"""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "good", done.stderr


def test_the_wheel_holds_the_faces_the_package_and_the_licence(installed: Path) -> None:
    (wheel,) = (installed.parent / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    page = [f"auto_router/assess/page/{name}" for name in ("report.html.jinja", "page.css", "page.js", "explorer.js")]
    for name in ("prepare_hf_data.py", "nn_router.py", "auto_router/decide/rule.py", *page):
        assert name in names
    assert any(name.endswith("LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests", "examples", "benchmarks"))]
