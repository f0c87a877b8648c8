"""Any sentence-transformers model in this process, by name or folder, on CUDA where there is a GPU, image models included.

A name may be downloaded from the model hub; of a folder nothing is. No code that comes with a model is run.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from auto_router.arrays import Array
from auto_router.data.embeddings import PROBE_TEXT, PROBE_VALUES, Spec, probe, weights_digest
from auto_router.data.images import blank_image, pixels
from auto_router.encode.encoder import Encoder
from auto_router.encode.windows import MAX_WINDOWS, word_windows
from auto_router.errors import ConfigError, EncoderError, needs_extra

LONGEST = 512  # tokens of a window where the model itself would see more: time grows with the square


class SentenceTransformersEncoder(Encoder):
    """A sentence-transformers model with its own tokenizer and pooling. Its weights' digest stands in the spec."""

    def __init__(
        self,
        model: str,
        prefix: str = "",
        window: int | None = None,
        dimensions: int | None = None,
        images: str | None = None,
        device: str | None = None,
    ) -> None:
        """Load.

        Args:
            model: a name on the model hub, or a folder.
            prefix: put before every window of a text, such as ``query: `` for e5.
            window: tokens of a window; None: what the model sees, at most 512.
            dimensions: the first so many values of a vector only, for models that were trained for it.
            images: anything: the model takes images, and they are given to it. None: they are not.
            device: None: CUDA where there is a GPU, else CPU.

        Raises:
            ConfigError: an option is impossible for this model.
            EncoderError: the package is not installed, or the model cannot be loaded.
        """
        with needs_extra("sentence-transformers", EncoderError):
            import sentence_transformers
        folder = Path(model).is_dir()
        try:
            self._model = sentence_transformers.SentenceTransformer(
                model, device=device, truncate_dim=dimensions, trust_remote_code=False, local_files_only=folder
            )
        except Exception as error:
            raise EncoderError(
                f"sentence-transformers model {model!r} cannot be loaded ({' '.join(str(error).split())[:300]}); give a "
                "name of the model hub, or a folder that SentenceTransformer.save wrote"
            ) from error
        self._model.eval()
        self._digest = weights_digest(self._model.state_dict())
        self._specials = len(self._model.tokenizer("")["input_ids"])
        self._prefix, self._dimensions = prefix, dimensions
        seen = self._model.max_seq_length or LONGEST
        self._window = window or min(int(seen), LONGEST)
        if not 16 <= self._window <= seen:
            raise ConfigError(f"model {model!r} sees {seen} tokens; a window must be of 16 to so many, got {self._window}")
        self._count = lru_cache(maxsize=65_536)(self._tokens)
        first = self.embed_texts([PROBE_TEXT])
        self.text_dim, self._probe = first.shape[1], probe(lambda _: first, PROBE_VALUES)
        self._images = images is not None
        self.image_dim = int(self.embed_images([blank_image()]).shape[1]) if self._images else 0

    @property
    def spec(self) -> Spec:
        given = {"prefix": self._prefix, "dimensions": self._dimensions, "images": self._images}
        return {
            "backend": "sentence-transformers",
            "weights_sha256": self._digest,
            "probe": self._probe,  # the same weights pooled otherwise give other vectors
            **{name: value for name, value in given.items() if value},
            "text_window": {"tokens": self._window, "overlap": self._window // 8, "max_windows": MAX_WINDOWS},
        }

    def windows(self, text: str) -> list[str]:
        room = self._window - self._specials - (self._count(self._prefix) if self._prefix else 0)
        return word_windows(text, self._count, room, self._window // 8)

    def embed_texts(self, texts: list[str]) -> Array:
        return self._encode([self._prefix + text for text in texts])

    def embed_images(self, images: list[bytes]) -> Array:
        if not self._images:
            return super().embed_images(images)
        return self._encode([pixels(image) for image in images])

    def _encode(self, items: list[Any]) -> Array:
        # prompt="": a prompt that the model's own configuration names would stand before the prefix that was asked for.
        found = self._model.encode(items, batch_size=len(items), prompt="", convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(found, dtype=np.float32)

    def _tokens(self, word: str) -> int:
        """Tokens of a word, without start and end."""
        return len(self._model.tokenizer(word, add_special_tokens=False)["input_ids"])
