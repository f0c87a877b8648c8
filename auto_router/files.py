"""Files that are whole or absent, their digests, and JSON lists read one item at a time."""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import re
import secrets
import shutil
import socket
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from auto_router.errors import ConfigError

DAY_S = 86_400.0


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it onto ``path`` when the block ends without an error.

    A reader therefore sees the old file, the new file or none, never a part. On an error the temporary file is
    removed and ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_part_name(path.name))
    temporary.touch(exist_ok=False)  # not by mkstemp, which lets nobody but the owner read: the user's umask decides
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_together(folder: Path, optional: Sequence[str] = ()) -> Iterator[Path]:
    """Yield an empty folder; when the block ends without an error, its files take the place of those of ``folder``.

    So files that belong together are those of one run: on an error all of ``folder`` stays as it was. Of the ``optional``
    files, those that the block did not make are removed from ``folder``: they are of another run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / _part_name("set")
    staging.mkdir()
    try:
        yield staging
        for path in sorted(staging.iterdir()):
            os.replace(path, folder / path.name)
            optional = [name for name in optional if name != path.name]
        for name in optional:
            (folder / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def prepare_folder(folder: Path) -> None:
    """Make ``folder`` if it is not there, see that it can be written, and remove what a killed run left in it.

    Raises:
        ConfigError: nothing can be written there.
    """
    try:
        with replace_together(folder) as staging:
            (staging / "probe").touch()
            (staging / "probe").unlink()
        for path in folder.glob(".*.part"):
            if _is_left_over(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"output folder {folder} cannot be written ({error.strerror}); choose another one") from error


def _part_name(name: str) -> str:
    """Return the name of a part of a file or folder in the making; it says which process of which machine writes it."""
    return f".{name}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.part"


def _machine() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _is_left_over(path: Path) -> bool:
    """Is this a part of :func:`atomic_path` or :func:`replace_together` whose process has ended?

    Where that cannot be told (another machine, Windows, names of earlier versions): was it not touched for a day?
    """
    told = re.fullmatch(r"\..+\.(?:([0-9a-f]{8})-(\d{1,9})-)?[0-9a-f]{8}\.part", path.name)
    if told is None:
        return False
    if told[1] == _machine() and sys.platform != "win32":
        try:
            os.kill(int(told[2]), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
    return time.time() - path.stat().st_mtime > DAY_S


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
