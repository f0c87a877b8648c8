"""Stage 2 on synthetic records with a table for an encoder, in a process of its own; prints its peak memory in MiB.

python tests/stage2_memory.py FOLDER SUFFIX COUNT
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import generate_embeddings
from auto_router.arrays import Array
from auto_router.data.embeddings import Spec
from auto_router.encode.encoder import EmbeddingGenerator, Encoder
from tests.helpers import png
from tests.image_storm import peak_mib


class Table(Encoder):
    """Vectors as wide as the local encoder's, by size: cheap, so that what is left to measure is Stage 2."""

    text_dim, image_dim, batch_size = 384, 1280, 32

    @property
    def spec(self) -> Spec:
        return {"backend": "table"}

    def embed_texts(self, texts: list[str]) -> Array:
        return np.array([[len(text)] * self.text_dim for text in texts], dtype=np.float32)

    def embed_images(self, images: list[bytes]) -> Array:
        return np.array([[len(image)] * self.image_dim for image in images], dtype=np.float32)


def record(i: int) -> dict[str, Any]:
    import base64

    images = [base64.b64encode(png((i % 256, i // 256 % 256, 0), (64, 64))).decode()] if i % 4 == 0 else []
    return {"idx": i, "prompt": f"prompt {i} " * (1 + i % 50), "answer": "", "images": images, "model_scores": {"a": i % 2}}


def write(path: Path, count: int) -> None:
    """Write ``count`` records without holding them."""
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        first = pyarrow.Table.from_pylist([record(0)])
        with pyarrow.parquet.ParquetWriter(path, first.schema) as writer:
            for start in range(0, count, 1000):
                rows = [record(i) for i in range(start, min(start + 1000, count))]
                writer.write_table(pyarrow.Table.from_pylist(rows, schema=first.schema))
        return
    lines = ".jsonl" in path.name
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        file.write("" if lines else "[")
        for i in range(count):
            file.write(json.dumps(record(i)) + ("\n" if lines else "," if i < count - 1 else "]"))


def main() -> None:
    folder, suffix, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    path = folder / f"records{suffix}"
    generate_embeddings.load_embedding_model = lambda *_: EmbeddingGenerator(Table())
    files = ["--train-json", str(path), "--test-json", str(folder / "one.json")]
    (folder / "one.json").write_text(json.dumps([record(0)]))
    generate_embeddings.main([*files, "--output-dir", str(folder)])
    rows = np.load(folder / "hf_train_embeddings.npy", mmap_mode="r")
    assert rows.shape == (count, 1664)
    assert rows[count - 1].any()
    print(f"peak MiB {peak_mib():.1f}")


if __name__ == "__main__":
    if sys.argv[4:] == ["write"]:
        write(Path(sys.argv[1]) / f"records{sys.argv[2]}", int(sys.argv[3]))
    else:
        main()
