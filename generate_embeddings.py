"""Stage 2: evaluation JSON -> embeddings.

    python generate_embeddings.py --train-json hf_evaluations_train.json --test-json hf_evaluations_test.json
    python generate_embeddings.py --train-json ... --test-json ... --clip-server 0.0.0.0:51000

Writes ``hf_train_embeddings.npy`` [N, D], ``hf_test_embeddings.npy`` [M, D] and ``hf_embeddings_metadata.json``. A row is
``text(D_t) ‖ image(D_i)``; all images of a record count, and the image half is zeros where there is none. Records are
streamed, and a run that was stopped continues with the same command.
"""

from __future__ import annotations

if __name__ == "__main__":
    from auto_router.errors import end_on_signals

    end_on_signals()  # before the imports below, which take seconds

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tabulate import tabulate

from auto_router.arrays import Array
from auto_router.cluster import add_engine_flags
from auto_router.data.dataset import TEST_LABELS, TRAIN_LABELS, choose_fraction, split_labels
from auto_router.data.embeddings import METADATA_NAME, Spec
from auto_router.data.records import Record, parse_records
from auto_router.encode import pipeline
from auto_router.encode.encoder import EmbeddingGenerator, distinct_items
from auto_router.encode.factory import BACKENDS, open_encoder
from auto_router.encode.ray_backend import fill_on_ray
from auto_router.errors import ConfigError, run
from auto_router.terminal import PARTIAL, Parser, add_flags, bar, capture_output

EXAMPLES = r"""examples:
  python generate_embeddings.py --train-json hf_evaluations_train.json --test-json hf_evaluations_test.json
  python generate_embeddings.py --train-json ... --test-json ... --clip-server 0.0.0.0:51000
  python generate_embeddings.py --labels my_labels.json --test-fraction 0.2     # one list; a fifth of it is held out
  python generate_embeddings.py --labels my_labels.json --encoder local-multilingual
  python generate_embeddings.py --labels my_labels.json --encoder openai --encoder-url http://127.0.0.1:11434/v1 \
      --encoder-model nomic-embed-text --encoder-prefix "classification: "
  python generate_embeddings.py --labels my_labels.json --encoder openai --encoder-model text-embedding-3-small \
      --image-encoder local
  python generate_embeddings.py --train-json ... --test-json ... --on-error skip --json > encoded.json

A stopped run continues with the same command.
next: python nn_router.py --train-embeddings hf_train_embeddings.npy ..., or --labels my_labels.json"""


def load_embedding_model(
    clip_server: str | None = None,
    encoder: str | None = None,
    model: str | None = None,
    url: str | None = None,
    **options: Any,
) -> EmbeddingGenerator:
    """Open the encoder: a clip-server where an address is given (or in ``AUTO_ROUTER_CLIP_SERVER``), else the local one.

    ``encoder``, ``model``, ``url`` and ``options`` are those of :func:`auto_router.encode.factory.open_encoder`.

    Raises:
        EncoderError: the encoder cannot be loaded or the server does not answer.
    """
    return open_encoder(encoder, clip_server, model, url, **options)


def generate_embeddings_for_dataset(
    clip_client: EmbeddingGenerator,
    evaluation_data: Iterable[Record | dict[str, Any]],
    max_samples: int | None = None,
    description: str = "encode",
) -> Array:
    """Encode evaluation records (as loaded from JSON, or plain dicts of the same form) into ``[N, D]`` float32.

    Args:
        clip_client: what :func:`load_embedding_model` returned.
        evaluation_data: the records; ``prompt``, ``context`` and ``images`` are looked at.
        max_samples: encode only the first so many; None for all.
        description: the progress bar's label.

    Raises:
        DataError: a record is not valid, or an image cannot be read; names the row.
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
    parser = Parser(
        description="Stage 2: encode evaluation records into NumPy files.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--train-json", type=Path, help="records to train on (json, jsonl, .gz, parquet)")
    parser.add_argument("--test-json", type=Path, help="records to assess on")
    parser.add_argument(
        "--labels", type=Path, metavar="FILE",
        help=f"one list instead of the two: split by group and near-duplicates into {TRAIN_LABELS} and {TEST_LABELS}",
    )  # fmt: skip
    parser.add_argument("--test-fraction", type=float, help="of the groups of --labels, to test on (default 0.2)")
    parser.add_argument("--seed", type=int, default=0, help="of that split (default 0); give Stage 3 the same")
    parser.add_argument("--output-dir", type=Path, default=Path(), help="where the three files go (default: here)")
    parser.add_argument("--clip-server", metavar="HOST:PORT", help="use this clip-server (env AUTO_ROUTER_CLIP_SERVER)")
    add_encoder_flags(parser)
    parser.add_argument(
        "--on-error",
        choices=pipeline.ON_ERROR,
        default=pipeline.ON_ERROR[0],
        help="an image that cannot be read: stop (default), or skip its record, which stays in place as NaN and is reported",
    )
    add_flags(parser)
    saved = f"records encoded and saved at a time (default {pipeline.CHUNK_RECORDS})"
    parser.add_argument("--chunk", type=int, default=pipeline.CHUNK_RECORDS, help=saved)
    add_engine_flags(parser, "records are encoded")
    arguments = parser.parse_args(argv)
    if arguments.chunk < 1:
        raise ConfigError(f"--chunk must be at least 1, got {arguments.chunk}")
    pair = [path for path in (arguments.train_json, arguments.test_json) if path is not None]
    if len(pair) != (2 if arguments.labels is None else 0):
        raise ConfigError("give --train-json and --test-json, or --labels, one list that is split; see --help")
    arguments.test_fraction = choose_fraction(arguments.test_fraction, arguments.labels)
    return arguments


def add_encoder_flags(parser: argparse.ArgumentParser) -> None:
    """Add what says which encoder; what a back end does not take is refused when it is opened."""
    group = parser.add_argument_group("encoder")
    names = f"{', '.join(BACKENDS)}, the name of a registered one, or module:Class"
    group.add_argument("--encoder", metavar="NAME", help=f"{names}; default: clip-server where given, else local")
    group.add_argument(
        "--encoder-model",
        metavar="NAME",
        help="the model: a service's name for it; a folder; open_clip: ARCHITECTURE/PRETRAINED or hf-hub:NAME "
        "(env AUTO_ROUTER_ENCODER_MODEL)",
    )
    group.add_argument("--encoder-url", metavar="URL", help="a service: http(s)://HOST/v1 (env AUTO_ROUTER_ENCODER_URL)")
    group.add_argument(
        "--encoder-key-env", metavar="NAME", help="the variable that holds the service's key (env AUTO_ROUTER_ENCODER_KEY_ENV)"
    )
    group.add_argument("--encoder-dimensions", type=int, metavar="N", help="openai: a narrower width than the model's own")
    group.add_argument("--encoder-prefix", metavar="TEXT", help="put before every text, such as 'query: '")
    group.add_argument("--encoder-window", type=int, metavar="TOKENS", help="longer texts are cut into windows of so many")
    group.add_argument("--encoder-pooling", choices=("mean", "cls", "last"), help="onnx: where its folder does not say it")
    group.add_argument(
        "--encoder-images",
        choices=("uri", "object", "messages"),
        help="openai: how it takes images: uri (NVCLIP, LiteLLM), object (Jina) or messages (vLLM); default: not at all",
    )
    group.add_argument(
        "--encoder-layers",
        nargs="+",
        type=int,
        metavar="N",
        help="hidden-states: which layers' states, 1 the first, -1 the last; default: the last",
    )
    group.add_argument(
        "--encoder-languages",
        nargs="+",
        metavar="CODE",
        help="languages that the model knows, such as de fr, or any: prompts in them are not unfamiliar for their language",
    )
    group.add_argument("--image-encoder", metavar="NAME", help="another encoder for the images, such as local")
    group.add_argument("--image-encoder-model", metavar="NAME", help="its model (env AUTO_ROUTER_IMAGE_ENCODER_MODEL)")
    group.add_argument("--image-encoder-url", metavar="URL", help="its address (env AUTO_ROUTER_IMAGE_ENCODER_URL)")


def encoder_of(arguments: argparse.Namespace) -> Callable[[], EmbeddingGenerator]:
    """Return what opens the encoder that the flags name, here or on another machine."""
    named = {
        "key_env": "encoder_key_env", "dimensions": "encoder_dimensions", "prefix": "encoder_prefix",
        "window": "encoder_window", "pooling": "encoder_pooling", "images": "encoder_images",
        "languages": "encoder_languages", "layers": "encoder_layers",
        "image_encoder": "image_encoder",
        "image_model": "image_encoder_model", "image_url": "image_encoder_url",
    }  # fmt: skip
    given = {name: value for name, flag in named.items() if (value := getattr(arguments, flag)) is not None}
    which = arguments.clip_server, arguments.encoder, arguments.encoder_model, arguments.encoder_url
    return partial(load_embedding_model, *which, **given)


def describe_encoder(model: EmbeddingGenerator) -> str:
    """Return its back end, its model where it names one, and its widths; the metadata holds the whole spec."""
    halves = ("text", model.text_dim), ("image", model.image_dim)
    if model.spec.get("backend") == "joined":
        return " + ".join(f"{_name_encoder(model.spec[half])} ({half} {width})" for half, width in halves)
    return f"{_name_encoder(model.spec)} ({', '.join(f'{half} {width}' for half, width in halves if width)})"


def _name_encoder(spec: Spec) -> str:
    named = spec.get("model")
    return f"{spec['backend']} {named}" if isinstance(named, str) else str(spec["backend"])


def survey_file(part: str, path: Path) -> pipeline.RecordSource:
    """Read a file through before anything is encoded: a bad record at its end is told at once."""
    with bar(None, f"check {part}", "record", leave=False) as shown:
        return pipeline.survey_records(path, shown.update)


def encode(
    model: EmbeddingGenerator, part: str, source: pipeline.RecordSource, arguments: argparse.Namespace
) -> tuple[pipeline.ResumableFile, list[Any]]:
    """Encode one file; return it and its line of the summary."""
    target = arguments.output_dir / f"hf_{part}_embeddings.npy"
    file = pipeline.begin(model, source, target, arguments.chunk, arguments.engine)
    earlier, start = file.done, time.perf_counter()
    with bar(source.records, f"encode {part}", "record", done=earlier, bar_format=PARTIAL) as shown:
        if arguments.engine == "ray":
            cluster = arguments.ray_address, arguments.ray_workers
            fill_on_ray(
                encoder_of(arguments), source, file, model.spec, arguments.chunk, arguments.on_error, shown.update, *cluster
            )
        else:
            pipeline.fill(model, source, file, arguments.chunk, arguments.on_error, shown.update)
    seconds = time.perf_counter() - start
    rate = (source.records - earlier) / seconds
    return file, [target.name, source.records, model.dim, source.images, len(file.skipped), earlier, seconds, rate]


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    with capture_output(arguments) as result:
        result |= encode_all(arguments)


def encode_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """Encode both files and return what was done, in plain values."""
    paths = arguments.train_json, arguments.test_json
    if arguments.labels is not None:
        paths = split_labels(arguments.labels, arguments.output_dir, arguments.test_fraction, arguments.seed)
    sources = {part: survey_file(part, path) for part, path in zip(("train", "test"), paths, strict=True)}
    model = encoder_of(arguments)()
    print(f"encoder: {describe_encoder(model)}")
    parts, table = {}, []
    for part, source in sources.items():
        file, line = encode(model, part, source, arguments)
        parts[part] = (source, file)
        table.append(line)
    for part, (_, file) in parts.items():
        for row, reason in file.skipped.items():
            print(f"skipped {part} row {row}, {reason}")
    pipeline.publish(arguments.output_dir, model.spec, parts)
    model.close()
    headers = ["file", "records", "width", "images", "skipped", "from before", "seconds", "records/s"]
    print(tabulate(table, headers=headers, floatfmt=".1f"))
    print(f"wrote {', '.join(str(row[0]) for row in table)} and {METADATA_NAME} to {arguments.output_dir.resolve()}")
    files = [dict(zip(headers, line, strict=True)) for line in table]
    return {"stage": 2, "encoder": model.spec, "files": files, "folder": str(arguments.output_dir.resolve())}


if __name__ == "__main__":
    sys.exit(run(main))
