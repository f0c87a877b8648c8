"""Files that are whole or absent, their digests, and JSON lists read one item at a time."""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it onto ``path`` when the block ends without an error.

    A reader therefore sees the old file, the new file or none, never a part. On an error the temporary file is
    removed and ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    temporary.touch(exist_ok=False)  # not by mkstemp, which lets nobody but the owner read: the user's umask decides
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable UTF-8 JSON, whole or not at all. NaN is refused: JSON has no such number."""
    # A lone surrogate, which model output can hold, has no UTF-8 form; the replacement is its JSON escape.
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(value, file, ensure_ascii=False, indent=2, allow_nan=False)
        file.write("\n")


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's content, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reserve_space(path: Path, size: int) -> None:
    """Take ``size`` bytes of disk for a file where the system can (Linux); elsewhere only look whether they are free.

    Raises:
        OSError: there is no room for them.
    """
    allocate: Callable[[int, int, int], None] | None = getattr(os, "posix_fallocate", None)
    if allocate is not None:
        try:
            with path.open("r+b") as file:
                allocate(file.fileno(), 0, size)
        except OSError as error:
            # Network file systems and some others cannot.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
        else:
            return
    if shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def release(table: npt.NDArray[Any]) -> None:
    """Give the pages of a read-only memory map back to the system; of another array, do nothing.

    Pages that were read count as this process's memory until then. The system may keep them, and hand them out again at once.
    """
    mapped = isinstance(table, np.memmap) and table.mode == "r"
    if sys.platform != "win32" and mapped and isinstance(table.base, mmap.mmap):  # Windows has no such call
        table.base.madvise(mmap.MADV_DONTNEED)
