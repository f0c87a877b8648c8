"""The encoder seam and everything that is the same above every back end.

A back end says how *one list* of short texts and *one list* of decodable images become vectors. Cutting long prompts
into windows, batching by length, encoding duplicates once, pooling and normalising happen here, once, in
:class:`EmbeddingGenerator`, which Stage 2 and ``ModelRouter`` both use: what is trained on is what is routed on.

Distinct items to unit vectors: similar sizes together, several batches in flight, a bad item named and not the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from auto_router.arrays import Array
from auto_router.data.conversation import context_weight
from auto_router.data.embeddings import Spec, differences, unit
from auto_router.data.images import ImageLike, image_bytes, pixels
from auto_router.errors import DataError, EncoderError


def check_vectors(vectors: Array, count: int, dim: int) -> Array:
    """Return what an encoder answered as float32 ``[count, dim]``. Raises EncoderError where it is anything else."""
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.shape != (count, dim):
        raise EncoderError(
            f"encoder answered with shape {list(vectors.shape)}, expected {[count, dim]}; was the server restarted with "
            "another model?"
        )
    if not np.isfinite(vectors).all():
        raise EncoderError("encoder answered with NaN or infinite values; check its model and its input")
    return vectors


Item = TypeVar("Item", str, bytes)
Outcome = Array | DataError


def encode_distinct(
    items: Iterable[Item],
    encode: Callable[[list[Item]], Array],
    check: Callable[[Item], object],
    *,
    dim: int,
    size: int,
    parallel: int = 1,
) -> Iterator[dict[Item, Outcome]]:
    """Encode every distinct item once and yield ``{item: unit vector}`` batch by batch.

    An item that cannot be encoded gets its DataError instead of a vector; the rest of its batch is encoded all the same.

    Args:
        items: texts or images, in any order and number.
        encode: ``[N, dim]`` for a list; raises DataError where one of them is bad.
        check: raises DataError for an item that is bad by itself.
        dim: width of the vectors.
        size: items in a batch.
        parallel: batches in flight. One is prepared while another is computed or on its way.
    """
    # dict, not set: the order of a set of strings changes from process to process, and with it the batches.
    unique = sorted(dict.fromkeys(items), key=len)
    batches = [unique[start : start + size] for start in range(0, len(unique), size)]

    def encode_one(batch: list[Item]) -> dict[Item, Outcome]:
        return _encode_batch(batch, encode, check, dim)

    if parallel == 1 or len(batches) < 2:
        yield from map(encode_one, batches)
        return
    with ThreadPoolExecutor(parallel) as pool:
        try:
            yield from pool.map(encode_one, batches)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def pool_means(rows: Sequence[Sequence[Item]], outcomes: dict[Item, Outcome], dim: int) -> Array:
    """Return ``[N, dim]``: the mean of each row's vectors, zeros for a row without items, NaN where one has none."""
    means = np.zeros((len(rows), dim), dtype=np.float32)
    for i, row in enumerate(rows):
        if row:
            vectors = [vector for item in row if not isinstance(vector := outcomes[item], DataError)]
            if len(vectors) < len(row):
                means[i] = np.nan
            else:
                means[i] = vectors[0] if len(vectors) == 1 else np.mean(vectors, axis=0)
    return means


def _encode_batch(
    batch: list[Item], encode: Callable[[list[Item]], Array], check: Callable[[Item], object], dim: int
) -> dict[Item, Outcome]:
    try:
        return dict(zip(batch, unit(check_vectors(encode(batch), len(batch), dim)), strict=True))
    except DataError:
        errors: dict[Item, Outcome] = {}
        for item in batch:
            try:
                check(item)
            except DataError as error:
                errors[item] = error
        if not errors:
            raise
    good = [item for item in batch if item not in errors]
    return errors | (_encode_batch(good, encode, check, dim) if good else {})


class Encoder(ABC):
    """A back end: texts and images to vectors of fixed width. Nothing it gives need be normalised."""

    text_dim: int
    image_dim: int = 0
    batch_size: int = 32
    parallel: int = 1  # batches in flight; more than one only where the back end may be called from several threads
    served_windows: int = 16  # of a long prompt, encoded while somebody waits for a decision
    stretch: int = 2_400  # characters at each end of a long prompt that are read then: more than one window holds
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes of languages in which a prompt lies near its translations, see :mod:`auto_router.data.prompt_features`;
    ``any``."""

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """Plain values that tell this encoder's vectors from another's: back end, model, digests, preparation."""

    @abstractmethod
    def embed_texts(self, texts: list[str]) -> Array:
        """Return ``[N, text_dim]`` for non-empty texts. A text is text whatever it looks like."""

    def embed_images(self, images: list[bytes]) -> Array:
        """Return ``[N, image_dim]`` for the bytes of image files. Raises DataError where one cannot be decoded."""
        return np.zeros((len(images), 0), dtype=np.float32)  # of a back end that sees none

    @property
    def resolved(self) -> Spec:
        """Plain values that the encoder settled on by itself and that open it again: an address, a model, a key's variable."""
        return {}

    def windows(self, text: str) -> list[str]:
        """Cut a text into parts the encoder can see whole. Where the back end cannot tell, the text itself."""
        return [text]

    def limit_requests(self, timeout_s: float, attempts: int) -> None:
        """Say how long one request may take and how often it is tried. A back end in this process has no requests."""
        return None

    def some_windows(self, text: str, most: int) -> list[str]:
        """Return at most ``most`` windows that stand for a text; of a long one only its beginning and its end are read."""
        if len(text) > 2 * self.stretch:
            text = text.strip()
            ends = [self.windows(end) for end in (text[: self.stretch], text[-self.stretch :]) if end.strip()]
            found = [window for windows in ends for window in windows]
        else:
            found = self.windows(text)
        return found if len(found) <= most else [found[i] for i in np.linspace(0, len(found) - 1, most).round().astype(int)]

    def close(self) -> None:
        """Give back what is held open."""
        return None


class EmbeddingGenerator:
    """Turns prompts with any number of images into rows ``text(D_t) ‖ image(D_i)``, float32.

    The text half is the mean of the unit vectors of the prompt's windows, scaled to unit length; the image half is the
    mean of the unit vectors of all images, and all zeros where there is none. An empty prompt has a zero text half.
    """

    def __init__(self, encoder: Encoder, opens_with: Spec | None = None) -> None:
        """``opens_with``: plain values that open the encoder again, stored with the spec; no key."""
        self.encoder = encoder
        self._opens_with = {} if not opens_with else {"opens_with": dict(opens_with)}

    @property
    def text_dim(self) -> int:
        return self.encoder.text_dim

    @property
    def image_dim(self) -> int:
        return self.encoder.image_dim

    @property
    def dim(self) -> int:
        """Width of a row: ``text_dim + image_dim``."""
        return self.text_dim + self.image_dim

    @property
    def spec(self) -> Spec:
        """The encoder's spec and how its vectors are combined: what an artifact stores and a router checks."""
        return {
            **self.encoder.spec,
            **({"languages": list(self.encoder.languages)} if self.encoder.languages else {}),
            "text_dim": self.text_dim,
            "image_dim": self.image_dim,
            "text_pooling": "mean of unit window vectors, unit length",
            "image_pooling": "mean of unit vectors, zeros without pictures",
            **self._opens_with,
        }

    def embed(self, text: str, images: Sequence[ImageLike] | None = None) -> Array:
        """Return the row ``[D]`` of one prompt."""
        row: Array = self.embed_batch([text], [images or ()])[0]
        return row

    def embed_batch(
        self,
        texts: Sequence[str],
        images: Sequence[Sequence[ImageLike] | None] | None = None,
        progress: Callable[[int], object] | None = None,
        skipped: dict[int, str] | None = None,
        first_row: int = 0,
        contexts: Sequence[str] | None = None,
        max_windows: int | None = None,
    ) -> Array:
        """Return ``[N, D]``, row i for prompt i and its images.

        The text half of a prompt that stands in a conversation is blended with that of its context, at the weights of
        :mod:`auto_router.data.conversation`, and scaled to unit length again.

        Args:
            texts: ``N`` prompts.
            images: the images of each prompt, in any form of :mod:`auto_router.data.images`; None for no images.
            progress: called with the number of windows and images just encoded.
            skipped: where given, a row with an unreadable image becomes NaN and ``{i: reason}`` is put here.
            first_row: the number of row 0 in messages, where the prompts are part of a longer list.
            contexts: the context of each prompt, ``""`` for none; None where no prompt has one.
            max_windows: of a longer text, so many windows stand for all, and no more of it is read; None: as many as the
                encoder takes.

        Raises:
            DataError: a prompt is no string, or an image cannot be read; the message names row and image.
            EncoderError: the encoder failed or answered with vectors of another shape.
        """
        if images is not None and len(images) != len(texts):
            raise DataError(f"{len(texts)} prompts came with {len(images)} lists of pictures; give one list per prompt")
        given = images or [None] * len(texts)
        for row, prompt in enumerate(zip(texts, given, strict=True), first_row):
            check_prompt(row, *prompt)
        talks = [context for context in contexts or () if context]
        parts = [self._windows(text, max_windows) for text in [*texts, *talks]]
        faults = _Faults(first_row, skipped)
        files = [faults.guard(row, some or ()) for row, some in enumerate(given)]
        text_vectors = self._outcomes(parts, self.encoder.embed_texts, str, self.text_dim, progress, faults)
        image_vectors = self._outcomes(files, self.encoder.embed_images, pixels, self.image_dim, progress, faults)
        text_half = unit(pool_means(parts, text_vectors, self.text_dim))
        if talks:
            spoken = [row for row, context in enumerate(contexts or ()) if context]
            shares = np.array([context_weight(texts[row]) for row in spoken], dtype=np.float32)[:, None]
            text_half[spoken] = unit((1.0 - shares) * text_half[spoken] + shares * text_half[len(texts) :])
        rows = np.concatenate([text_half[: len(texts)], pool_means(files, image_vectors, self.image_dim)], axis=1)
        if skipped:
            rows[list(skipped)] = np.nan
        return rows

    def _windows(self, text: str, most: int | None) -> list[str]:
        # Lone surrogates cannot be written as UTF-8, so no tokenizer and no wire takes them.
        clean = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
        if not clean.strip():
            return []
        return self.encoder.windows(clean) if most is None else self.encoder.some_windows(clean, most)

    def check(self, expected: Spec) -> None:
        """Raise EncoderError, with both specs, unless this generator makes the vectors that ``expected`` describes."""
        found = self.spec
        differing = differences(found, expected)
        if not differing:
            return
        raise EncoderError(
            f"this router was trained on another encoder (differs in {', '.join(differing)}). Trained on: {expected}. "
            f"Opened with: {found}. Open the router with the encoder it was trained on, or train again with this one"
        )

    def close(self) -> None:
        self.encoder.close()

    def _outcomes(
        self,
        rows: Sequence[Sequence[Item]],
        encode: Callable[[list[Item]], Array],
        check: Callable[[Item], object],
        dim: int,
        progress: Callable[[int], object] | None,
        faults: _Faults,
    ) -> dict[Item, Outcome]:
        """Encode every distinct item of the rows once."""
        outcomes: dict[Item, Outcome] = {}
        items = [item for row in rows for item in row]
        if not items:
            return outcomes
        size, parallel = self.encoder.batch_size, self.encoder.parallel
        for batch in encode_distinct(items, encode, check, dim=dim, size=size, parallel=parallel):
            faults.note(rows, batch)
            outcomes |= batch
            if progress is not None:
                progress(len(batch))
        return outcomes


class _Faults:
    """Images that cannot be read: raised with their place, or kept as the reason why a row is skipped."""

    def __init__(self, first_row: int, skipped: dict[int, str] | None) -> None:
        self._first_row, self._skipped = first_row, skipped

    def guard(self, row: int, given: Sequence[ImageLike]) -> list[bytes]:
        """Return the images of a row as bytes; of a row that is skipped, none."""
        images = []
        for number, image in enumerate(given):
            try:
                images.append(image_bytes(image))
            except DataError as error:
                self._at(row, number, error)
                return []
        return images

    def note(self, rows: Sequence[Sequence[Item]], batch: dict[Item, Outcome]) -> None:
        """Find the rows of what a batch could not encode."""
        errors = {item: outcome for item, outcome in batch.items() if isinstance(outcome, DataError)}
        if not errors:
            return
        for row, items in enumerate(rows):
            for number, item in enumerate(items):
                if item in errors:
                    self._at(row, number, errors[item])
                    break

    def _at(self, row: int, number: int, error: DataError) -> None:
        reason = f"picture {number}: {error}"
        if self._skipped is None:
            raise DataError(f"row {row + self._first_row}, {reason}") from error
        self._skipped.setdefault(row, reason)


def distinct_items(texts: Iterable[str], images: Iterable[Sequence[object]]) -> int:
    """Upper bound of what a progress bar will count: distinct prompts and images, long prompts counted once."""
    return len(set(texts)) + sum(len(row) for row in images)


def check_prompt(row: int, text: object, images: object) -> None:
    """Raise DataError, naming the row, unless ``text`` is a string, and ``images`` a list of whatever or None."""
    if not isinstance(text, str):
        hint = "; give a conversation as messages=" if isinstance(text, list) else ""
        raise DataError(f"row {row}: a prompt must be a string, got {type(text).__name__}{hint}")
    if images is not None and (isinstance(images, str | bytes) or not isinstance(images, Collection)):
        raise DataError(f"row {row}: pictures must be a list, got {type(images).__name__}; put it into a list")
