"""The encoder seam and everything that is the same above every back end.

A back end says how *one list* of short texts and *one list* of decodable pictures become vectors. Cutting long prompts
into windows, batching by length, encoding duplicates once, pooling and normalising happen here, once, in
:class:`EmbeddingGenerator`, which Stage 2 and ``ModelRouter`` both use: what is trained on is what is routed on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from auto_router.arrays import Array
from auto_router.encode.batches import Item, Outcome, encode_distinct, pooled
from auto_router.encode.spec import Spec, differences, unit
from auto_router.errors import DataError, EncoderError
from auto_router.images import ImageLike, image_bytes, pixels


class Encoder(ABC):
    """A back end: texts and pictures to vectors of fixed width. Nothing it gives need be normalised."""

    text_dim: int
    image_dim: int
    batch_size: int = 32
    parallel: int = 1  # batches in flight; more than one only where the back end may be called from several threads

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """Plain values that tell this encoder's vectors from another's: back end, model, digests, preparation."""

    @abstractmethod
    def embed_texts(self, texts: list[str]) -> Array:
        """Return ``[N, text_dim]`` for non-empty texts. A text is text whatever it looks like."""

    @abstractmethod
    def embed_images(self, images: list[bytes]) -> Array:
        """Return ``[N, image_dim]`` for the bytes of image files. Raises DataError where one cannot be decoded."""

    def windows(self, text: str) -> list[str]:
        """Cut a text into parts the encoder can see whole. Where the back end cannot tell, the text itself."""
        return [text]

    def close(self) -> None:
        """Give back what is held open."""
        return None


class EmbeddingGenerator:
    """Turns prompts with any number of pictures into rows ``text(D_t) ‖ image(D_i)``, float32.

    The text half is the mean of the unit vectors of the prompt's windows, scaled to unit length; the image half is the
    mean of the unit vectors of all pictures, and all zeros where there is none. An empty prompt has a zero text half.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

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
            "text_dim": self.text_dim,
            "image_dim": self.image_dim,
            "text_pooling": "mean of unit window vectors, unit length",
            "image_pooling": "mean of unit vectors, zeros without pictures",
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
    ) -> Array:
        """Return ``[N, D]``, row i for prompt i and its pictures.

        Args:
            texts: ``N`` prompts.
            images: the pictures of each prompt, in any form of :mod:`auto_router.images`; None for no pictures.
            progress: called with the number of windows and pictures just encoded.
            skipped: where given, a row with an unreadable picture becomes NaN and ``{i: reason}`` is put here.
            first_row: the number of row 0 in messages, where the prompts are part of a longer list.

        Raises:
            DataError: a prompt is no string, or a picture cannot be read; the message names row and picture.
            EncoderError: the encoder failed or answered with vectors of another shape.
        """
        if images is not None and len(images) != len(texts):
            raise DataError(f"{len(texts)} prompts came with {len(images)} lists of pictures; give one list per prompt")
        given = images or [None] * len(texts)
        for row, prompt in enumerate(zip(texts, given, strict=True), first_row):
            check_prompt(row, *prompt)
        parts = [self.encoder.windows(clean) if (clean := _clean(text)).strip() else [] for text in texts]
        faults = _Faults(first_row, skipped)
        pictures = [faults.guarded(row, some or ()) for row, some in enumerate(given)]
        text_vectors = self._outcomes(parts, self.encoder.embed_texts, _accept, self.text_dim, progress, faults)
        image_vectors = self._outcomes(pictures, self.encoder.embed_images, pixels, self.image_dim, progress, faults)
        halves = unit(pooled(parts, text_vectors, self.text_dim)), pooled(pictures, image_vectors, self.image_dim)
        rows = np.concatenate(halves, axis=1)
        if skipped:
            rows[list(skipped)] = np.nan
        return rows

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
    """Pictures that cannot be read: raised with their place, or kept as the reason why a row is skipped."""

    def __init__(self, first_row: int, skipped: dict[int, str] | None) -> None:
        self._first_row, self._skipped = first_row, skipped

    def guarded(self, row: int, given: Sequence[ImageLike]) -> list[bytes]:
        """Return the pictures of a row as bytes; of a row that is skipped, none."""
        pictures = []
        for number, image in enumerate(given):
            try:
                pictures.append(image_bytes(image))
            except DataError as error:
                self._at(row, number, error)
                return []
        return pictures

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
    """Upper bound of what a progress bar will count: distinct prompts and pictures, long prompts counted once."""
    return len(set(texts)) + sum(len(row) for row in images)


def check_prompt(row: int, text: object, images: object) -> None:
    """Raise DataError, naming the row, unless ``text`` is a string, and ``images`` a list of whatever or None."""
    if not isinstance(text, str):
        raise DataError(f"row {row}: a prompt must be a string, got {type(text).__name__}")
    if images is not None and (isinstance(images, str | bytes) or not isinstance(images, Collection)):
        raise DataError(f"row {row}: pictures must be a list, got {type(images).__name__}; put it into a list")


def _clean(text: str) -> str:
    """Lone surrogates cannot be written as UTF-8, so no tokenizer and no wire takes them: replace them."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _accept(text: str) -> None:
    """Any text is a good text."""
