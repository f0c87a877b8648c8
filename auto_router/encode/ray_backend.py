"""Stage 2 on a Ray cluster: workers encode parts of the records, this process writes their rows in order.

Workers are plain Ray actors, not ``ray.data``: that was seen to hang where actors die (ray-project/ray issues 62746, 41258),
and rows that come back in order go into the file, and the journal, that a run in one process writes. So a stopped run
continues here, too, and memory stays flat: at most ``AHEAD`` parts a worker are under way, in the cluster's object store.

A worker reads parquet shards itself, so their path must mean the same on every machine; records of other formats are sent to
it. Where one dies, Ray starts another, which encodes only the part that was lost. A prompt that comes again in another part is
encoded again, not copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from auto_router.arrays import Array
from auto_router.cluster import RETRIES, fetch_result, ray_cluster, resources
from auto_router.data.embeddings import Spec
from auto_router.data.formats import files_of, parquet_count
from auto_router.data.records import Record, iter_records
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.pipeline import CHUNK_RECORDS, Encoded, RecordSource, ResumableFile, record_chunks, store
from auto_router.errors import EncoderError

AHEAD = 4  # parts a worker may be ahead of the one that is written next
QUEUED = 2  # parts a worker is given at once, so that it does not wait for its next one
START_S = 600.0

Slice = tuple[Path, int, int]
Part = Slice | list[Record]
EncodedChunk = tuple[Array, dict[int, str]]


class Worker:
    """Encodes parts of the records in a process of the cluster."""

    def __init__(self, open_generator: Callable[[], EmbeddingGenerator], expected: Spec) -> None:
        self._generator = open_generator()
        self._generator.check(expected)

    def ready(self) -> bool:
        """Return once the encoder is open."""
        return True

    def encode(self, part: Part, first_row: int, skip: bool) -> EncodedChunk:
        """Return rows ``[n, D]`` of a part that begins at ``first_row``, and ``{i: reason}`` of those that were skipped."""
        records = part if isinstance(part, list) else list(islice(iter_records(part[0], part[1]), part[2] - part[1]))
        skipped: dict[int, str] = {}
        texts, images = [record.prompt for record in records], [record.images for record in records]
        contexts = [record.context for record in records]
        rows = self._generator.embed_batch(texts, images, None, skipped if skip else None, first_row, contexts)
        return rows, skipped


def fill_on_ray(
    open_generator: Callable[[], EmbeddingGenerator],
    source: RecordSource,
    file: ResumableFile,
    spec: Spec,
    chunk: int = CHUNK_RECORDS,
    on_error: str = "fail",
    progress: Callable[[float], object] = lambda _: None,
    address: str | None = None,
    workers: int | None = None,
) -> None:
    """Encode the records that ``file`` does not hold yet on the cluster at ``address``; as :func:`pipeline.fill`, otherwise.

    ``open_generator`` is called in every worker, and must give an encoder of this ``spec``.

    Raises:
        ConfigError: Ray is missing or does not answer.
        DataError, EncoderError: as :func:`pipeline.fill`; a part that its worker did not survive ``RETRIES`` + 1 times.
    """
    with ray_cluster(address) as ray:
        count, takes = resources(ray, workers)
        actor = ray.remote(max_restarts=-1, max_task_retries=RETRIES, **takes)(Worker)
        pool = [actor.remote(open_generator, spec) for _ in range(count)]
        try:
            _start(ray, pool)
            store(source, file, on_error, _encode(ray, pool, source, file.done, chunk, on_error == "skip", progress))
        finally:
            for worker in pool:
                ray.kill(worker)


def parts(path: Path, start: int, chunk: int) -> Iterator[tuple[Part, int]]:
    """Yield parts of at most ``chunk`` records, from record ``start`` on, with how many they are."""
    files = files_of(path)
    if any(file.suffix != ".parquet" for file in files):
        yield from ((records, len(records)) for records in record_chunks(iter_records(path, start), chunk))
        return
    before = 0
    for file in files:
        rows = parquet_count(file)
        for first in range(max(start - before, 0), rows, chunk):
            last = min(first + chunk, rows)
            yield (file, first, last), last - first
        before += rows


def _encode(
    ray: Any, pool: list[Any], source: RecordSource, start: int, chunk: int, skip: bool, progress: Callable[[float], object]
) -> Iterator[Encoded]:
    """Yield the parts' rows in the order of the records."""
    todo = enumerate(parts(source.path, start, chunk))
    idle = [worker for worker in pool for _ in range(QUEUED)]
    waiting: dict[Any, tuple[int, Any]] = {}
    arrived: dict[int, Any] = {}
    row, written = start, 0
    while True:
        while idle and len(waiting) + len(arrived) < AHEAD * len(pool) and (following := next(todo, None)):
            number, (part, count) = following
            worker = idle.pop(0)
            waiting[worker.encode.remote(part, row, skip)] = number, worker
            row += count
        if not waiting and not arrived:
            return
        if waiting:
            for reference in ray.wait(list(waiting), num_returns=1)[0]:
                number, worker = waiting.pop(reference)
                idle.append(worker)
                arrived[number] = reference
        while written in arrived:
            rows, skipped = _result(ray, arrived.pop(written))
            yield rows, [()] * len(rows), skipped
            progress(len(rows))
            written += 1


def _result(ray: Any, reference: Any) -> EncodedChunk:
    try:
        rows, skipped = fetch_result(ray, reference)
    except ray.exceptions.RayActorError as error:
        raise EncoderError(
            f"a worker died {RETRIES + 1} times over the same records ({error}); use a smaller --chunk"
        ) from error
    return rows, skipped


def _start(ray: Any, pool: list[Any]) -> None:
    try:
        for reference in [worker.ready.remote() for worker in pool]:
            ray.get(reference, timeout=START_S)
    except ray.exceptions.GetTimeoutError as error:
        raise EncoderError(
            f"{len(pool)} workers did not start in {START_S:g} s; is the cluster busy? try --ray-workers"
        ) from error
    except ray.exceptions.RayActorError as error:
        raise EncoderError(f"a worker cannot open the encoder: {error}") from error
