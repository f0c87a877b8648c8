"""A thousand damaged artifacts: each loads as a router that decides, or is refused by name; none runs code or fills memory."""

from __future__ import annotations

import io
import json
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from break_it.artifacts import LAYOUT, Bomb, pack, whole_router
from safetensors import safe_open
from safetensors.numpy import save

from auto_router.artifacts import load_artifact, save_artifact
from auto_router.errors import ArtifactError

COUNT = 1000
MAX_GROWTH = 300 * 2**20
Content = dict[str, Any]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A small default router with everything an artifact may hold, and its companion."""
    path = tmp_path_factory.mktemp("whole") / "nn_router.pth"
    save_artifact(path, whole_router())
    return path.read_bytes(), path.with_suffix(".safetensors").read_bytes()


@pytest.fixture
def whole(files: tuple[bytes, bytes]) -> bytes:
    return files[0]


@pytest.fixture
def companion(files: tuple[bytes, bytes]) -> bytes:
    return files[1]


def flipped(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def cut(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] if rng.random() < 0.5 else data[:start] + data[start + rng.randrange(1, 4000) :]


def repacked(data: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    """Change parts of the archive and give them right checksums: only what is in them tells that they are damaged."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as new:
        for part in old.infolist():
            new.writestr(part.filename, change(part.filename, old.read(part)))
    return buffer.getvalue()


def flipped_inside(data: bytes, rng: random.Random) -> bytes:
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    chosen = next(n for n in names if n.endswith("data.pkl")) if rng.random() < 0.5 else rng.choice(names)
    return repacked(data, lambda name, part: flipped(part, rng) if name == chosen and part else part)


def swapped(data: bytes, rng: random.Random) -> bytes:
    """Two entries, or two tensors, exchange their places."""
    content = torch.load(io.BytesIO(data), weights_only=True)
    table = rng.choice([content, content["state_dict"], content["familiar"], content["cost_model"]])
    first, second = rng.sample(sorted(table), 2)
    table[first], table[second] = table[second], table[first]
    return pack(content)


def strange(data: bytes, rng: random.Random) -> bytes:
    """Some value, at any depth, becomes something else."""
    content = torch.load(io.BytesIO(data), weights_only=True)
    table: Any = content
    while True:
        key = rng.choice(sorted(table, key=str)) if isinstance(table, dict) else rng.randrange(len(table))
        deeper = table[key]
        if not isinstance(deeper, dict | list) or not deeper or rng.random() < 0.3:
            break
        table = deeper
    values: list[Any] = [None, -1, 10**30, float("nan"), float("inf"), "x", [], {}, True, [[]], b"\0", torch.zeros(3), 1e300]
    values += [torch.zeros(1).expand(10**9), torch.full((2, 2), torch.nan), torch.zeros(2, 2).to_sparse(), {"a": {}}]
    table[key] = rng.choice(values)
    return pack(content)


def giant(data: bytes, rng: random.Random) -> bytes:
    """Sizes that would take gigabytes, with or without a tensor that claims to have them."""
    content = torch.load(io.BytesIO(data), weights_only=True)
    size = rng.choice([10**6, 10**7, 10**8, 2**31, 2**62])
    name = rng.choice(["n_anchors", "n_nodes", "n_trees", "depth", "trees_dim", "input_dim"])
    content["network"][name] = size
    if rng.random() < 0.5:
        tensor = rng.choice(sorted(content["state_dict"]))
        shape = (min(size, 10**8), *content["state_dict"][tensor].shape[1:])
        content["state_dict"][tensor] = torch.zeros([1] * len(shape)).expand(shape)
    return pack(content)


def bent_tables(data: bytes, rng: random.Random) -> bytes:
    """Trees whose links, features or cuts lead elsewhere."""
    content = torch.load(io.BytesIO(data), weights_only=True)
    name = rng.choice(["feature", "onward", "roots", "cut", "values"])
    tensor = content["state_dict"][f"heads.2.{name}"].reshape(-1)
    place = rng.randrange(len(tensor))
    tensor[place] = rng.choice([-1, 0, 1, place, len(tensor) // 2, 10**9])
    return pack(content)


def test_a_thousand_mutations(whole: bytes, tmp_path: Path) -> None:
    proof, path = tmp_path / "proof", tmp_path / "nn_router.pth"

    def with_code(data: bytes, rng: random.Random) -> bytes:
        bomb, content = Bomb(proof), torch.load(io.BytesIO(data), weights_only=True)
        content[rng.choice(sorted(content))] = bomb
        plain = pickle.dumps(bomb)
        inside = repacked(data, lambda name, part: plain if name.endswith("data.pkl") else part)
        return rng.choice([pack(content), plain, inside, plain + data, data + plain])

    kinds = [flipped, cut, flipped_inside, swapped, strange, giant, bent_tables, with_code]
    rng, rows = random.Random(0), np.random.default_rng(1).normal(size=(3, LAYOUT.dim)).astype(np.float32)
    path.write_bytes(whole)
    expected, loaded = load_artifact(path).predict(rows).probabilities, 0
    before = peak_memory()
    for number in range(COUNT):
        kind = kinds[number % len(kinds)]
        path.write_bytes(kind(whole, rng))
        try:
            found = load_artifact(path)
        except ArtifactError:
            continue
        loaded += 1
        p = found.predict(rows).probabilities
        assert p.shape == expected.shape
        assert not np.isnan(p).any(), kind.__name__
        if kind in (flipped, cut):
            assert p == pytest.approx(expected), "a flip outside of what the checksums cover changes nothing"
    assert not proof.exists()
    assert 0 < loaded < COUNT // 2
    assert peak_memory() - before < MAX_GROWTH


def test_mutations_of_the_companion(companion: bytes, tmp_path: Path) -> None:
    path = tmp_path / "nn_router.safetensors"
    rng, rows = random.Random(1), np.random.default_rng(1).normal(size=(3, LAYOUT.dim)).astype(np.float32)
    path.write_bytes(companion)
    expected, loaded = load_artifact(path).predict(rows).probabilities, 0

    def strange_inside(data: bytes, rng: random.Random) -> bytes:
        with safe_open(path, framework="numpy") as file:
            arrays: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
            content = json.loads(file.metadata()["content"])
        name, value = rng.choice(sorted(arrays)), rng.choice([np.zeros(3), np.zeros((2, 2), dtype=np.int8), np.full(4, np.nan)])
        table = rng.choice([content, content["network"], content["training"], content["operating_points"], arrays])
        if table is arrays:
            arrays[name] = value
        else:
            table[rng.choice(sorted(table))] = rng.choice([None, -1, 10**30, float("nan"), "x", [], {}, [[[]]], True])
        return save(arrays, {"content": json.dumps(content), "pth_sha256": ""})

    kinds = [flipped, cut, strange_inside]
    for number in range(COUNT // 4):
        path.write_bytes(companion)
        path.write_bytes(kinds[number % len(kinds)](companion, rng))
        try:
            p = load_artifact(path).predict(rows).probabilities
        except ArtifactError:
            continue
        loaded += 1
        assert p.shape == expected.shape
        assert not np.isnan(p).any()
    assert 0 < loaded < COUNT // 4


def peak_memory() -> int:
    """Return the highest resident memory of this process so far, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    pytest.skip("no /proc/self/status here")


def test_parts_that_unpack_to_more_than_the_file_are_refused(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "nn_router.pth"
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            new.writestr(part.filename, old.read(part))
    with pytest.raises(ArtifactError, match="compressed"):
        load_artifact(path)


def test_an_artifact_of_format_1_is_read(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "nn_router.pth"
    path.write_bytes(whole)
    now = load_artifact(path)
    content = torch.load(path, weights_only=True)
    del content["familiar"], content["cost_model"]
    for head in (0, 1):
        content["state_dict"][f"heads.{head}.anchor_norms"] = torch.ones(60)
    torch.save(content | {"format": 1}, path)
    old = load_artifact(path)
    rows = np.ones((2, LAYOUT.dim), dtype=np.float32)
    assert (old.predict(rows).probabilities == now.predict(rows).probabilities).all()
    assert (old.novelty, old.cost_model) == (None, None)
    torch.save(content | {"format": 3}, path)
    with pytest.raises(ArtifactError, match="format 3, this version reads 1 and 2; install a newer version"):
        load_artifact(path)


@pytest.mark.parametrize("name", ["projection.basis", "heads.0.anchors", "heads.1.anchors"])
def test_numbers_that_overflow_are_refused(whole: bytes, tmp_path: Path, name: str) -> None:
    path, content = tmp_path / "nn_router.pth", torch.load(io.BytesIO(whole), weights_only=True)
    content["state_dict"][name].reshape(-1)[:] = 3e38
    torch.save(content, path)
    with pytest.raises(ArtifactError, match="gives no numbers"):
        load_artifact(path)
