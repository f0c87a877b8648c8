"""Reading a ``torch.save`` file that nobody vouches for: tensors and plain values, no code, no more memory than the file says.

The archive is checked before torch opens it: every part whole (CRC), uncompressed (so that a small file cannot unpack to a
large one), and together no larger than the file.
"""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from auto_router.errors import ArtifactError, ConfigError

MOST_BYTES = 2**31
# What torch's restricted reader answers to damaged pickles.
_DAMAGED = (
    *(RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError, OverflowError),
    *(MemoryError, struct.error, zipfile.BadZipFile),
)


def load_plain(path: Path) -> Any:
    """Return the content of ``path``, tensors on the CPU.

    Raises:
        ArtifactError: it is no such archive, is damaged, or holds anything but tensors and plain values.
    """
    try:
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the restricted reader, about pickles that it goes on to refuse
            return torch.load(path, map_location="cpu", weights_only=True)
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


def _check_archive(path: Path) -> None:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{size:,} bytes, at most {MOST_BYTES:,} are read")
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED or part.flag_bits & 1 for part in parts):
            raise ValueError("its parts are compressed or encrypted")
        if sum(part.file_size for part in parts) > size or len({part.filename for part in parts}) < len(parts):
            raise ValueError("its parts are larger than the file, or of one name")
        broken = archive.testzip()
        if broken is not None:
            raise ValueError(f"its part {broken[:80]!r} does not fit its checksum")


def check_plain(value: Any, tensors: bool = False) -> None:
    """Raise ConfigError where ``value`` holds, at any depth, anything but plain values (and tensors, where they may be).

    A tensor in the place of a list may claim a billion elements that no file has.
    """
    if isinstance(value, dict):
        for key, inside in value.items():
            check_plain(key)
            check_plain(inside, tensors)
    elif isinstance(value, list | tuple):
        for inside in value:
            check_plain(inside)
    elif isinstance(value, Tensor) and tensors:
        if value.layout != torch.strided or not value.is_contiguous():
            raise ConfigError(f"a tensor of shape {list(value.shape)} is not whole")
    elif value is not None and not isinstance(value, str | int | float):
        raise ConfigError(f"a {type(value).__name__} in the place of a plain value")


def fill(network: nn.Module, state: Mapping[str, Any]) -> None:
    """Put ``state`` into a network that was built on the ``meta`` device, so that nothing is allocated for wrong sizes.

    Raises:
        ConfigError: a tensor is missing or too many, or of another shape or type than the network's.
    """
    expected = network.state_dict()
    if set(state) != set(expected):
        differing = sorted(map(str, set(state) ^ set(expected)))
        raise ConfigError(f"missing or unknown tensors: {', '.join(differing)[:200]}")
    for name, wanted in expected.items():
        found = state[name]
        if not isinstance(found, Tensor):
            raise ConfigError(f"{name} is not a tensor")
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise ConfigError(
                f"{name} is {found.dtype} {list(found.shape)}, the network's is {wanted.dtype} {list(wanted.shape)}"
            )
        if (
            found.is_floating_point()
            and name != "projection.limit"
            and not name.endswith(".cut")
            and not found.isfinite().all()
        ):
            raise ConfigError(f"{name} holds values that are not finite")
    network.load_state_dict(dict(state), assign=True)
