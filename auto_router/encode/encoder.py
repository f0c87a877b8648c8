"""The encoder seam and everything that is the same above every back end.

A back end says how *one list* of short texts and *one list* of decodable pictures become vectors. Cutting long prompts
into windows, batching by length, encoding duplicates once, pooling and normalising happen here, once, in
:class:`EmbeddingGenerator`, which Stage 2 and ``ModelRouter`` both use: what is trained on is what is routed on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from auto_router.errors import DataError, EncoderError
from auto_router.images import ImageLike, image_bytes

Array = npt.NDArray[np.float32]
Spec = dict[str, Any]
Item = TypeVar("Item", str, bytes)

PROBE_TEXT = "The quick brown fox jumps over 13 lazy dogs."
PROBE_TOLERANCE = 0.02


class Encoder(ABC):
    """A back end: texts and pictures to vectors of fixed width. Nothing it gives need be normalised."""

    text_dim: int
    image_dim: int
    batch_size: int = 32

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
    ) -> Array:
        """Return ``[N, D]``, row i for prompt i and its pictures.

        Args:
            texts: ``N`` prompts.
            images: the pictures of each prompt, in any form of :mod:`auto_router.images`; None for no pictures.
            progress: called with the number of windows and pictures just encoded.

        Raises:
            DataError: a picture cannot be read; the message names row and picture.
            EncoderError: the encoder failed or answered with vectors of another shape.
        """
        if images is not None and len(images) != len(texts):
            raise DataError(f"{len(texts)} prompts came with {len(images)} lists of pictures; give one list per prompt")
        parts = [self.encoder.windows(clean) if (clean := _clean(text)).strip() else [] for text in texts]
        pictures = [_pictures(row, given or ()) for row, given in enumerate(images or [()] * len(texts))]
        text_half = self._pooled(parts, self.encoder.embed_texts, self.text_dim, progress)
        image_half = self._pooled(pictures, self.encoder.embed_images, self.image_dim, progress)
        return np.concatenate([_unit(text_half), image_half], axis=1)

    def check(self, expected: Spec) -> None:
        """Raise EncoderError, with both specs, unless this generator makes the vectors that ``expected`` describes."""
        found = self.spec
        if _without_probe(found) == _without_probe(expected) and _probes_agree(found, expected):
            return
        differing = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        raise EncoderError(
            f"this router was trained on another encoder (differs in {', '.join(differing)}). Trained on: {expected}. "
            f"Opened with: {found}. Open the router with the encoder it was trained on, or train again with this one"
        )

    def close(self) -> None:
        self.encoder.close()

    def _pooled(
        self,
        rows: Sequence[Sequence[Item]],
        encode: Callable[[list[Item]], Array],
        dim: int,
        progress: Callable[[int], object] | None,
    ) -> Array:
        """Encode every distinct item once, similar sizes together, and average the unit vectors of each row."""
        # dict, not set: the order of a set of strings changes from process to process, and with it the batches.
        unique = sorted(dict.fromkeys(item for row in rows for item in row), key=len)
        vectors: dict[Item, Array] = {}
        for start in range(0, len(unique), self.encoder.batch_size):
            batch = unique[start : start + self.encoder.batch_size]
            vectors |= zip(batch, _unit(_checked(encode(batch), len(batch), dim)), strict=True)
            if progress is not None:
                progress(len(batch))
        pooled = np.zeros((len(rows), dim), dtype=np.float32)
        for i, row in enumerate(rows):
            if row:
                pooled[i] = np.mean([vectors[item] for item in row], axis=0)
        return pooled


def probe(encode: Callable[[list[str]], Array]) -> list[float]:
    """Return the first values of a fixed text's unit vector: tells models apart that no digest can name."""
    return [round(float(value), 3) for value in _unit(encode([PROBE_TEXT]))[0, :8]]


def distinct_items(texts: Iterable[str], images: Iterable[Sequence[object]]) -> int:
    """Upper bound of what a progress bar will count: distinct prompts and pictures, long prompts counted once."""
    return len(set(texts)) + sum(len(row) for row in images)


def _clean(text: str) -> str:
    """Lone surrogates cannot be written as UTF-8, so no tokenizer and no wire takes them: replace them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _pictures(row: int, given: Sequence[ImageLike]) -> list[bytes]:
    if isinstance(given, str | bytes):
        raise DataError(f"row {row}: pictures must be a list, got {type(given).__name__}; put it into a list")
    pictures = []
    for number, image in enumerate(given):
        try:
            pictures.append(image_bytes(image))
        except DataError as error:
            raise DataError(f"row {row}, picture {number}: {error}") from error
    return pictures


def _unit(vectors: Array) -> Array:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1.0), dtype=np.float32)


def _checked(vectors: Array, count: int, dim: int) -> Array:
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.shape != (count, dim):
        raise EncoderError(f"encoder answered with shape {list(vectors.shape)}, expected {[count, dim]}")
    if not np.isfinite(vectors).all():
        raise EncoderError("encoder answered with NaN or infinite values; check its model and its input")
    return vectors


def _without_probe(spec: Spec) -> Spec:
    return {name: value for name, value in spec.items() if name != "probe"}


def _probes_agree(a: Spec, b: Spec) -> bool:
    first, second = a.get("probe", []), b.get("probe", [])
    return len(first) == len(second) and bool(np.allclose(first, second, atol=PROBE_TOLERANCE))
