"""Any open_clip or SigLIP model in this process, by name or from a checkpoint folder, on CUDA or the CPU.

A name is ``ARCHITECTURE/PRETRAINED`` as open_clip lists them (``ViT-B-32/openai``) or ``hf-hub:ORGANISATION/MODEL``; both
may download. A folder holds ``open_clip_config.json`` and the weights, and nothing is downloaded.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from auto_router.arrays import Array
from auto_router.data.embeddings import Spec, weights_digest
from auto_router.data.images import pixels
from auto_router.encode.encoder import Encoder
from auto_router.encode.windows import MAX_WINDOWS, word_windows
from auto_router.errors import EncoderError, advise_install

DEFAULT_MODEL = "ViT-B-32/openai"


class OpenClipEncoder(Encoder):
    """An open_clip model, its own tokenizer and its own image preparation. The weights' digest stands in the spec."""

    def __init__(self, model: str | None = None, device: str | None = None) -> None:
        """Load.

        Args:
            model: a name or a folder; None: ``ViT-B-32/openai``.
            device: None: CUDA where there is a GPU, else CPU.

        Raises:
            EncoderError: open_clip is not installed, or the model cannot be loaded.
        """
        given = model or DEFAULT_MODEL
        folder = Path(given).is_dir()
        torch, open_clip = _packages()
        self._torch = torch
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        name, _, tag = given.rpartition("/")
        whole = folder or given.startswith("hf-hub:") or not name
        name, pretrained = (f"local-dir:{given}" if folder else given, None) if whole else (name, tag)
        try:
            # Weights are read with torch's weights_only, or as safetensors: a checkpoint runs no code.
            self._model, self._prepare = open_clip.create_model_from_pretrained(
                name, pretrained, device=self._device, weights_only=True
            )
            self._tokenizer = open_clip.get_tokenizer(name)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AssertionError, ImportError) as error:
            raise EncoderError(
                f"open_clip model {given!r} cannot be loaded ({' '.join(str(error).split())[:300]}); give a name that "
                "open_clip.list_pretrained() shows as ARCHITECTURE/PRETRAINED, hf-hub:ORGANISATION/MODEL, or a folder with "
                "open_clip_config.json and weights"
            ) from error
        self._model.eval()
        self.model = Path(given).resolve().name if folder else given
        self._digest = weights_digest(self._model.state_dict())
        self._window = int(self._tokenizer.context_length)
        self.text_dim, self.image_dim = self._width(["x"]), self._width(None)
        self._count = lru_cache(maxsize=65_536)(self._tokens)

    @property
    def spec(self) -> Spec:
        return {
            "backend": "open_clip",
            "model": self.model,
            "weights_sha256": self._digest,
            "text_window": {"tokens": self._window, "overlap": self._overlap, "max_windows": MAX_WINDOWS},
            "image_preparation": re.sub(r" at 0x[0-9a-f]+|\s+", " ", repr(self._prepare)),
        }

    def windows(self, text: str) -> list[str]:
        return word_windows(text, self._count, self._window - 2, self._overlap)

    def embed_texts(self, texts: list[str]) -> Array:
        with self._torch.inference_mode():
            return self._plain(self._model.encode_text(self._tokenizer(texts).to(self._device)))

    def embed_images(self, images: list[bytes]) -> Array:
        prepared = self._torch.stack([self._prepare(pixels(image)) for image in images])
        with self._torch.inference_mode():
            return self._plain(self._model.encode_image(prepared.to(self._device)))

    @property
    def _overlap(self) -> int:
        return self._window // 8

    def _tokens(self, word: str) -> int:
        """Tokens of a word, without start and end."""
        encode = getattr(self._tokenizer, "encode", None)
        if encode is not None:
            return len(encode(word))
        return len(self._tokenizer.tokenizer(word, add_special_tokens=False).input_ids)

    def _width(self, texts: list[str] | None) -> int:
        if texts is not None:
            return int(self.embed_texts(texts).shape[1])
        size = self._model.visual.image_size
        height, width = size if isinstance(size, tuple | list) else (size, size)
        with self._torch.inference_mode():
            return int(self._model.encode_image(self._torch.zeros(1, 3, height, width, device=self._device)).shape[1])

    @staticmethod
    def _plain(vectors: Any) -> Array:
        return np.asarray(vectors.float().cpu().numpy(), dtype=np.float32)


def _packages() -> tuple[Any, Any]:
    try:
        import open_clip
        import torch
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that was built for another torch
        raise EncoderError(
            f"the open_clip encoder needs open_clip_torch and the torchvision that belongs to the installed torch ({error}): "
            f"{advise_install('open-clip')}"
        ) from error
    return torch, open_clip
