"""Router artifacts of strangers: bytes damaged at random, and whole containers that hold what no router holds.

Each must be refused by name or decide as a router does: the right shape, no NaN, nothing run, little memory, little time.
"""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save

from auto_router.artifacts import Artifact, TrainingSummary, load_artifact, save_artifact
from auto_router.data.pool import ModelFacts
from auto_router.data.prompt_features import FEATURE_NAMES
from auto_router.decide.operating_points import OperatingPoint
from auto_router.decide.policy import RouterSettings, resolve_policy
from auto_router.errors import ArtifactError, RouterError
from auto_router.learn.calibration import Calibration
from auto_router.learn.cost_model import CostModel
from auto_router.learn.novelty import fit_novelty
from auto_router.learn.stack import FeatureLayout
from auto_router.learn.stack_fit import fit_stack
from break_it.tally import Tally

LAYOUT = FeatureLayout(6, 4, len(FEATURE_NAMES))
COUNT, LIMIT_S, MAX_GROWTH = 1500, 5.0, 300 * 2**20
ROWS = np.random.default_rng(1).normal(size=(3, LAYOUT.dim)).astype(np.float32)
NAMES = ("a", "b", "c")
MARKUP = [
    "<script>x()</script>",
    "\x1b[2J\x00",
    "|\n# heading",
    "[x](javascript:x())",
    "../../etc",
    "\u202eevil",
    "a" * 10**6,
    "",
]
PLAIN: list[Any] = [
    None, True, -1, 0, 2**31, 2**62, 10**30, 10**400, 0.5, -0.0, math.nan, math.inf, -math.inf, 1e308, "", "x", *MARKUP[:6],
    [], [[]], [None], {}, {"a": {}}, {"": None}, {1: 2}, {None: 1}, (1,), b"\0",
]  # fmt: skip
DTYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.bool, torch.complex64, torch.uint8]
Content = dict[str, Any]
Place = tuple[Any, Any]


class Bomb:
    """A pickle that would make a folder when it is opened."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.proof),)


def whole_router() -> Artifact:
    """A small default router with everything that an artifact may hold."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, LAYOUT.dim)).astype(np.float32)
    y = (x[:, :3] > 0).astype(np.float32)
    return Artifact(
        fit_stack(x, y, np.arange(60), LAYOUT).network, NAMES, {"backend": "tiny", "text_dim": 6, "image_dim": 4},
        facts={"a": ModelFacts(modalities=("text",), context_window=100), "b": ModelFacts(1.0, 2.0)},
        calibration=Calibration("sigmoid", [([0.0, 1.0], [0.1, 0.9])] * 3),
        operating_points={"accuracy": OperatingPoint("", "a", 0.1, 0.2, {"a": 1.0, "b": 2.0, "c": 3.0})},
        training=TrainingSummary(), prompt_features=FEATURE_NAMES,
        novelty=fit_novelty(x, y, np.arange(60), list(range(60)), prompt_dim=len(FEATURE_NAMES))[0],
        cost_model=CostModel(np.ones((LAYOUT.dim, 3), dtype=np.float32), *np.ones((3, 3), dtype=np.float32)),
    )  # fmt: skip


def pack(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def places(value: Any) -> Iterator[Place]:
    """Yield every place of a content, as a container and a key."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in list(items):
        yield value, key
        yield from places(inside)


def odd_tensor(tensor: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """The tensor with another type, shape, stride or content; or one that claims to be enormous."""
    shape = list(tensor.shape) or [1]
    values = [0, -1, 1e30, -1e30, math.nan, math.inf, -math.inf, 1e-40, 3e38]
    changed = tensor.detach().clone()

    def fill() -> torch.Tensor:
        return torch.full_like(changed.float(), rng.choice(values)).to(changed.dtype)

    def spot() -> torch.Tensor:
        if changed.numel():
            flat = changed.reshape(-1)
            flat[rng.randrange(len(flat))] = rng.choice(values) if changed.is_floating_point() else rng.choice([-1, 2**30, 0])
        return changed

    ways: list[Callable[[], torch.Tensor]] = [
        lambda: changed.to(rng.choice(DTYPES)), fill, spot, spot,
        lambda: torch.zeros([1] * len(shape)).expand([rng.choice([10**9, 1]), *shape[1:]]),
        lambda: torch.zeros(1).expand(10**9),
        lambda: changed.reshape(-1)[:-1], lambda: changed[None], lambda: changed.transpose(0, -1), lambda: changed.flip(0),
        lambda: torch.zeros(0), lambda: torch.tensor(1.0), lambda: torch.zeros([0] * len(shape)),
        lambda: changed.to_sparse() if changed.numel() else changed, lambda: torch.empty(shape, device="meta"),
        lambda: changed.float().requires_grad_(), lambda: torch.nn.Parameter(changed.float()),
        lambda: torch.quantize_per_tensor(changed.float().reshape(-1), 0.1, 0, torch.quint8),
        lambda: changed.to(torch.complex64).conj(), lambda: torch.cat([changed, changed]),
        lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        lambda: changed.reshape(-1).as_strided((10**6,), (0,)) if changed.numel() else changed,
    ]  # fmt: skip
    return rng.choice(ways)()


def bend(content: Content, rng: random.Random) -> Any:
    """Put something odd into one to three places of a whole content; about half of them are tensors."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        everywhere = list(places(content))
        tensors = [(box, key) for box, key in everywhere if isinstance(box[key], torch.Tensor)]
        plain = [(box, key) for box, key in everywhere if not isinstance(box[key], torch.Tensor)]
        box, key = rng.choice(tensors if rng.random() < 0.5 and tensors else plain)
        how = rng.random()
        if isinstance(box[key], torch.Tensor) and how < 0.9:
            box[key] = odd_tensor(box[key], rng)
        elif isinstance(box, dict) and how < 0.25:
            box[rng.choice([*MARKUP, 7, None, True])] = box.pop(key)
        elif isinstance(box, list) and how < 0.25:
            box.extend(box[:1] * rng.choice([1, 1000]))
        elif how < 0.35:
            del box[key]
        else:
            box[key] = rng.choice([*PLAIN, torch.zeros(3)])
    return content


def damage(data: bytes, rng: random.Random) -> bytes:
    """Flip bits, cut, swap or repeat a part."""
    start, size, way = rng.randrange(len(data)), rng.randrange(1, 4000), rng.randrange(5)
    if way == 0:
        return data[:start]
    if way == 1:
        return data[:start] + data[start + size :]
    if way == 2:
        return data[:start] + data[start : start + size] * 2 + data[start + size :]
    if way == 3:
        return data[:start] + rng.randbytes(size) + data[start + size :]
    bent = bytearray(data)
    for _ in range(rng.choice([1, 1, 8, 64])):
        bent[rng.randrange(len(bent))] ^= 1 << rng.randrange(8)
    return bytes(bent)


def bend_companion(path: Path, rng: random.Random, digest: str | None) -> bytes:
    """A companion, whole as safetensors, whose arrays or words are odd; ``digest``: of the .pth it says it belongs to."""
    with safe_open(path, framework="numpy") as file:
        arrays: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
        about = file.metadata()
    content = json.loads(about["content"])
    for _ in range(rng.choice([1, 1, 2])):
        if rng.random() < 0.5:
            name = rng.choice(sorted(arrays))
            array = arrays[name]
            flat, most = array.reshape(-1), 3e38 if array.dtype.kind == "f" else np.iinfo(array.dtype).max
            ways = [array.astype(np.float64), array.astype(np.int8), flat[:0], array * np.float32("nan"), flat[:-1],
                    np.full_like(array, most), np.array(1.0), array[None]]  # fmt: skip
            arrays[rng.choice([name, name, "nowhere/x", "training/metrics", "format/x", "x", ""])] = rng.choice(ways)
        else:
            box, key = rng.choice(list(places(content)))
            box[key] = rng.choice([value for value in PLAIN if not isinstance(value, bytes | tuple)])
    text = json.dumps(content) if rng.random() < 0.9 else rng.choice(["[]", "{", "[" * 10**5, "null", '"x"', "1" * 10**4, ""])
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()},
                {"content": text, "pth_sha256": about["pth_sha256"] if digest is None else digest})  # fmt: skip


def use(path: Path) -> None:
    """Open a router and do with it what is done with one. Raises RouterError where it is refused."""
    artifact = load_artifact(path)
    prediction = artifact.predict(ROWS)
    p = prediction.probabilities
    if p.shape != (len(ROWS), len(artifact.model_names)):
        raise AssertionError(f"shape {p.shape}")
    parts = [part for part in (p, prediction.novelty) if part is not None]  # an expected cost may be unknown
    if any(np.isnan(part).any() for part in parts) or (p < 0).any() or (p > 1).any():
        raise AssertionError(f"a probability or another number is none: {[part.tolist() for part in parts]}")
    for name in [None, *artifact.operating_points]:
        policy = resolve_policy(artifact.model_names, artifact.operating_points, RouterSettings.of({"operating_point": name}))
        chosen = policy.choose(prediction, np.ones(p.shape, dtype=bool)).chosen
        if len(chosen) != len(ROWS):
            raise AssertionError("a row without a model")


def peak() -> int:
    """The highest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def try_one(tally: Tally, case: str, path: Path, proof: Path, told: str) -> None:
    before, start = peak(), time.process_time()
    try:
        use(path)
        outcome, detail = "right result", ""
    except RouterError as error:
        outcome, detail = "clear error", str(error)
        if len(detail) > 2000 or (not isinstance(error, ArtifactError) and "operating" not in detail):
            outcome = "crash"
    except AssertionError as error:
        outcome, detail = "lost", str(error)
    except Exception as error:  # noqa: BLE001  whatever else comes is what is looked for
        outcome, detail = "crash", f"{type(error).__name__}: {error}"
    if peak() - before > MAX_GROWTH:
        outcome, detail = "crash", f"memory grew by {(peak() - before) / 2**20:.0f} MB; {detail}"
    if time.process_time() - start > LIMIT_S:
        outcome = "hang"
    if proof.exists():
        proof.rmdir()
        outcome = "executed"
    tally.note(case, outcome, f"{told}: {detail}")


def attack(tally: Tally, seconds: float, seed: int, count: int = COUNT) -> None:
    rng, until = random.Random(seed), time.monotonic() + seconds
    warnings.simplefilter("ignore", RuntimeWarning)  # of NumPy, about the very numbers that are made here
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path, companion, proof = folder / "nn_router.pth", folder / "nn_router.safetensors", folder / "proof"
        save_artifact(path, whole_router())
        use(path)
        data, beside = path.read_bytes(), companion.read_bytes()
        for number in range(count):
            if time.monotonic() > until:
                tally.notes.append(f"stopped after {number} of {count}: the time is over")
                return
            path.write_bytes(data)
            companion.write_bytes(beside)
            told = f"number {number}"
            if number % 4 < 2:
                companion.unlink()
                content = torch.load(io.BytesIO(data), weights_only=True)
                path.write_bytes(pack(bend(content, rng)))
                try_one(tally, "whole .pth, odd inside", path, proof, told)
            elif number % 4 == 2:
                companion.write_bytes(bend_companion(companion, rng, rng.choice([None, None, "", "0" * 64])))
                try_one(tally, "companion that disagrees", path, proof, told)
            elif number % 8 == 3:
                companion.unlink()
                bomb = Bomb(proof)
                inside = torch.load(io.BytesIO(data), weights_only=True)
                inside[rng.choice(sorted(inside))] = bomb
                path.write_bytes(
                    rng.choice([pack(inside), pickle.dumps(bomb), pickle.dumps(bomb) + data, data + pickle.dumps(bomb)])
                )
                try_one(tally, ".pth with code", path, proof, told)
            else:
                victim = rng.choice([path, companion])
                companion.unlink() if victim == path else None
                victim.write_bytes(damage(victim.read_bytes(), rng))
                try_one(tally, "bytes damaged", path, proof, told)
