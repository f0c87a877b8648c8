"""Where tensors live: the device that was asked for, if this machine has it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from auto_router.errors import ConfigError


def usable_device(name: str | None) -> torch.device:
    """Return the device ``name`` (``cuda``, ``cuda:1``, ``cpu``); None: CUDA where there is a GPU.

    A GPU that is not there falls back to the CPU with one warning.

    Raises:
        ConfigError: torch knows no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        wanted = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is unknown; use 'cuda', 'cuda:0' or 'cpu'") from error
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        warnings.warn(f"device {name!r} is not available here; using the CPU", stacklevel=3)
        return torch.device("cpu")
    return wanted


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread inside: sums that several threads share are rounded differently than those of one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
