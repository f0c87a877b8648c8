"""How the content of an artifact lies on disk: torch's own container, and a companion that is read without torch.

The content is one dict of plain values and arrays. A file that nobody vouches for is checked before torch opens it: every
part of the archive whole (CRC), uncompressed (so that a small file cannot unpack to a large one), and together no larger than
the file. Reading one runs no code.
"""

from __future__ import annotations

import json
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from auto_router.errors import ArtifactError, ConfigError, advise_install
from auto_router.files import atomic_path, sha256_of

COMPANION = ".safetensors"
WITH_ARRAYS = ("state_dict", "familiar", "cost_model")
"""The entries of an artifact that hold arrays; the others are plain values."""
MAX_ARTIFACT_BYTES = 2**31
# What torch's restricted reader answers to damaged pickles.
_DAMAGED = (
    *(RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError, OverflowError),
    *(MemoryError, struct.error, zipfile.BadZipFile),
)


def import_torch(what: str) -> Any:
    """Return torch. Raises ArtifactError where it is not installed: ``what`` needs it."""
    try:
        import torch
    except ImportError as error:
        raise ArtifactError(f"{what} needs torch: pip install torch, or {advise_install('train')}") from error
    return torch


def write_pth(path: Path, content: Mapping[str, Any]) -> None:
    torch = import_torch("writing an artifact")

    def as_tensors(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: as_tensors(item) for name, item in value.items()}
        if isinstance(value, np.ndarray):
            return torch.from_numpy(np.ascontiguousarray(value))
        return value.cpu() if isinstance(value, torch.Tensor) else value

    torch.save(as_tensors(content), path)


def write_companion(path: Path, content: Mapping[str, Any], digest: str) -> None:
    """Write ``content`` as safetensors: arrays by ``entry/name``, all else as JSON; ``digest`` is that of the ``.pth``."""
    arrays = {
        f"{entry}/{name}": np.ascontiguousarray(value)
        for entry in WITH_ARRAYS
        for name, value in content[entry].items()
        if isinstance(value, np.ndarray)
    }
    plain = {
        entry: {name: item for name, item in value.items() if f"{entry}/{name}" not in arrays}
        if entry in WITH_ARRAYS
        else value
        for entry, value in content.items()
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(arrays, {"content": json.dumps(plain), "pth_sha256": digest}))


def read_companion(path: Path, artifact: Path) -> dict[str, Any] | None:
    """Return what ``path`` holds; None where it is not of this ``artifact`` (a ``.pth``, or the companion itself).

    Raises:
        ArtifactError: it is damaged.
    """
    try:
        _check_size(path)
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            if path != artifact and about.get("pth_sha256") != sha256_of(artifact):
                return None
            content = json.loads(about.get("content", "null"))
            if not isinstance(content, dict):
                raise ValueError("it holds no router")
            for name in file.keys():  # noqa: SIM118  no mapping
                entry, _, inside = name.partition("/")
                content[entry][inside] = file.get_tensor(name)
    except (SafetensorError, *_DAMAGED) as error:
        raise ArtifactError(
            f"router artifact {path} is damaged or not an artifact ({str(error)[:200]}); train it again, or delete it where "
            "its .pth is whole and torch is installed"
        ) from error
    return content


def read_pth(path: Path) -> Any:
    """Return the content of a ``.pth``, an array in the place of every tensor.

    Raises:
        ArtifactError: it is no such archive, is damaged, or holds anything but tensors and plain values.
    """
    torch = import_torch(f"{path} has no {COMPANION} companion of its own, and")
    try:
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the restricted reader, about pickles that it goes on to refuse
            return _as_arrays(torch, torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        # torch's own message advises to read the file unsafely; that advice must not be passed on.
        raise ArtifactError(
            f"router artifact {path} is not one: it holds more than tensors and plain values, or is damaged; nothing in it "
            "was run. Train it again"
        ) from error
    except _DAMAGED as error:
        lines = str(error).strip().splitlines()
        reason = lines[0][:200] if lines else type(error).__name__
        raise ArtifactError(f"router artifact {path} is damaged or not an artifact ({reason}); train it again") from error


def _as_arrays(torch: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_arrays(torch, item) for name, item in value.items()}
    if isinstance(value, torch.Tensor):
        return value.detach().numpy()  # a view: one that claims a billion elements takes no memory, and is refused later
    return value


def _check_size(path: Path) -> int:
    size = path.stat().st_size
    if size > MAX_ARTIFACT_BYTES:
        raise ValueError(f"{size:,} bytes, at most {MAX_ARTIFACT_BYTES:,} are read")
    return size


def _check_archive(path: Path) -> None:
    size = _check_size(path)
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED or part.flag_bits & 1 for part in parts):
            raise ValueError("its parts are compressed or encrypted")
        if sum(part.file_size for part in parts) > size or len({part.filename for part in parts}) < len(parts):
            raise ValueError("its parts are larger than the file, or of one name")
        broken = archive.testzip()
        if broken is not None:
            raise ValueError(f"its part {broken[:80]!r} does not fit its checksum")


def check_plain(value: Any, arrays: bool = False) -> None:
    """Raise ConfigError where ``value`` holds, at any depth, anything but plain values (and arrays, where they may be).

    An array in the place of a list may claim a billion elements that no file has.
    """
    if isinstance(value, dict):
        for key, inside in value.items():
            check_plain(key)
            check_plain(inside, arrays)
    elif isinstance(value, list | tuple):
        for inside in value:
            check_plain(inside)
    elif isinstance(value, np.ndarray) and arrays:
        if not value.flags.c_contiguous:
            raise ConfigError(f"a tensor of shape {list(value.shape)} is not whole")
    elif value is not None and not isinstance(value, str | int | float):
        raise ConfigError(f"a {type(value).__name__} in the place of a plain value")
