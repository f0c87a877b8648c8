"""Stage 2: evaluation JSON -> embeddings.

    python generate_embeddings.py --train-json hf_evaluations_train.json --test-json hf_evaluations_test.json
    python generate_embeddings.py --train-json ... --test-json ... --clip-server 0.0.0.0:51000

Writes ``hf_train_embeddings.npy`` [N, D], ``hf_test_embeddings.npy`` [M, D] and ``hf_embeddings_metadata.json``. A row is
``text(D_t) ‖ image(D_i)``; all pictures of a record count, and the image half is zeros where there is none. Records are
streamed, and a run that was stopped continues with the same command.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tabulate import tabulate

from auto_router.arrays import Array
from auto_router.cluster import add_engine_flags
from auto_router.data.embeddings import METADATA_NAME
from auto_router.data.records import Record, parse_records
from auto_router.encode.encoder import EmbeddingGenerator, distinct_items
from auto_router.encode.factory import BACKENDS, open_encoder
from auto_router.encode.pipeline import CHUNK_RECORDS, ON_ERROR, RecordSource, begin, fill, publish, survey_records
from auto_router.encode.ray_backend import fill_on_ray
from auto_router.encode.resumable import ResumableFile
from auto_router.errors import ConfigError, run
from auto_router.terminal import PARTIAL, add_flags, bar, capture_output

EXAMPLES = """examples:
  python generate_embeddings.py --train-json hf_evaluations_train.json --test-json hf_evaluations_test.json
  python generate_embeddings.py --train-json ... --test-json ... --clip-server 0.0.0.0:51000
  python generate_embeddings.py --train-json ... --test-json ... --on-error skip --json > encoded.json

A stopped run continues with the same command.
next: python nn_router.py --train-embeddings hf_train_embeddings.npy ..."""


def load_embedding_model(
    clip_server: str | None = None, encoder: str | None = None, model: str | None = None, url: str | None = None
) -> EmbeddingGenerator:
    """Open the encoder: a clip-server where an address is given (or in ``AUTO_ROUTER_CLIP_SERVER``), else the local one.

    ``encoder``, ``model`` and ``url`` are those of :func:`auto_router.encode.factory.open_encoder`.

    Raises:
        EncoderError: the encoder cannot be loaded or the server does not answer.
    """
    return open_encoder(encoder, clip_server, model, url)


def generate_embeddings_for_dataset(
    clip_client: EmbeddingGenerator,
    evaluation_data: Iterable[Record | dict[str, Any]],
    max_samples: int | None = None,
    description: str = "encode",
) -> Array:
    """Encode evaluation records (as loaded from JSON, or plain dicts of the same form) into ``[N, D]`` float32.

    Args:
        clip_client: what :func:`load_embedding_model` returned.
        evaluation_data: the records; only ``prompt`` and ``images`` are looked at.
        max_samples: encode only the first so many; None for all.
        description: the progress bar's label.

    Raises:
        DataError: a record is not valid, or a picture cannot be read; names the row.
    """
    records = parse_records(islice(evaluation_data, max_samples))
    texts, images = [record.prompt for record in records], [record.images for record in records]
    with bar(distinct_items(texts, images), description, "item") as shown:
        contexts = [record.context for record in records]
        rows = clip_client.embed_batch(texts, images, progress=shown.update, contexts=contexts)
        shown.total = shown.n  # duplicates were encoded once and long prompts in several windows
        shown.refresh()
    return rows


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Stage 2: encode evaluation records into NumPy files.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--train-json", required=True, type=Path, help="records to train on (json, jsonl, .gz, parquet)")
    parser.add_argument("--test-json", required=True, type=Path, help="records to assess on")
    parser.add_argument("--output-dir", type=Path, default=Path(), help="where the three files go (default: here)")
    parser.add_argument("--clip-server", metavar="HOST:PORT", help="use this clip-server (env AUTO_ROUTER_CLIP_SERVER)")
    parser.add_argument("--encoder", choices=BACKENDS, help="back end; default: clip-server where given, else local")
    parser.add_argument(
        "--encoder-model",
        metavar="NAME",
        help="open_clip: ARCHITECTURE/PRETRAINED, hf-hub:NAME or a checkpoint folder; nvclip: the model's name "
        "(env AUTO_ROUTER_ENCODER_MODEL)",
    )
    parser.add_argument("--encoder-url", metavar="URL", help="nvclip: http(s)://HOST/v1 (env AUTO_ROUTER_ENCODER_URL)")
    parser.add_argument(
        "--on-error",
        choices=ON_ERROR,
        default=ON_ERROR[0],
        help="a picture that cannot be read: stop (default), or skip its record, which stays in place as NaN and is reported",
    )
    add_flags(parser)
    saved = f"records encoded and saved at a time (default {CHUNK_RECORDS})"
    parser.add_argument("--chunk", type=int, default=CHUNK_RECORDS, help=saved)
    add_engine_flags(parser, "records are encoded")
    arguments = parser.parse_args(argv)
    if arguments.chunk < 1:
        raise ConfigError(f"--chunk must be at least 1, got {arguments.chunk}")
    return arguments


def encoder_of(arguments: argparse.Namespace) -> tuple[str | None, ...]:
    """Return what :func:`load_embedding_model` is called with."""
    return arguments.clip_server, arguments.encoder, arguments.encoder_model, arguments.encoder_url


def survey_file(part: str, path: Path) -> RecordSource:
    """Read a file through before anything is encoded: a bad record at its end is told at once."""
    with bar(None, f"check {part}", "record", leave=False) as shown:
        return survey_records(path, shown.update)


def encode(
    model: EmbeddingGenerator, part: str, source: RecordSource, arguments: argparse.Namespace
) -> tuple[ResumableFile, list[Any]]:
    """Encode one file; return it and its line of the summary."""
    target = arguments.output_dir / f"hf_{part}_embeddings.npy"
    file = begin(model, source, target, arguments.chunk, arguments.engine)
    earlier, start = file.done, time.perf_counter()
    with bar(source.records, f"encode {part}", "record", done=earlier, bar_format=PARTIAL) as shown:
        if arguments.engine == "ray":
            opener = partial(load_embedding_model, *encoder_of(arguments))
            cluster = arguments.ray_address, arguments.ray_workers
            fill_on_ray(opener, source, file, model.spec, arguments.chunk, arguments.on_error, shown.update, *cluster)
        else:
            fill(model, source, file, arguments.chunk, arguments.on_error, shown.update)
    seconds = time.perf_counter() - start
    rate = (source.records - earlier) / seconds
    return file, [target.name, source.records, model.dim, source.images, len(file.skipped), earlier, seconds, rate]


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    with capture_output(arguments) as result:
        result |= encode_all(arguments)


def encode_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """Encode both files and return what was done, in plain values."""
    sources = {
        part: survey_file(part, path) for part, path in {"train": arguments.train_json, "test": arguments.test_json}.items()
    }
    model = load_embedding_model(*encoder_of(arguments))
    print(f"encoder: {model.spec}")
    parts, table = {}, []
    for part, source in sources.items():
        file, line = encode(model, part, source, arguments)
        parts[part] = (source, file)
        table.append(line)
    for part, (_, file) in parts.items():
        for row, reason in file.skipped.items():
            print(f"skipped {part} row {row}, {reason}")
    publish(arguments.output_dir, model.spec, parts)
    model.close()
    headers = ["file", "records", "width", "pictures", "skipped", "from before", "seconds", "records/s"]
    print(tabulate(table, headers=headers, floatfmt=".1f"))
    print(f"wrote {', '.join(str(row[0]) for row in table)} and {METADATA_NAME} to {arguments.output_dir.resolve()}")
    files = [dict(zip(headers, line, strict=True)) for line in table]
    return {"stage": 2, "encoder": model.spec, "files": files, "folder": str(arguments.output_dir.resolve())}


if __name__ == "__main__":
    sys.exit(run(main))
