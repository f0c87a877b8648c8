"""Hidden states of a small causal language model: what it makes of a prompt, its difficulty included.

Of each chosen layer the mean of all tokens' states and the state of the last token, each of unit length. The first token is
left out of the mean: models park attention there, so that its states are large and say nothing (Xiao et al. 2023,
arXiv 2309.17453).
A name may be downloaded from the model hub; of a folder nothing is. No code that comes with a model is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from auto_router.arrays import Array
from auto_router.data.embeddings import PROBE_TEXT, PROBE_VALUES, Spec, probe, unit, weights_digest
from auto_router.encode.encoder import Encoder
from auto_router.encode.onnx import LONGEST_WINDOW
from auto_router.encode.windows import MAX_WINDOWS, word_windows
from auto_router.errors import ConfigError, EncoderError, needs_extra

STATES = "mean of all tokens but the first, and last token, of each layer, unit length"


class HiddenStatesEncoder(Encoder):
    """A causal model of transformers with its own tokenizer. Its weights' digest stands in the spec. Images are not seen."""

    batch_size = 8  # states are held for every layer
    served_windows = 2

    def __init__(
        self,
        model: str,
        layers: Sequence[int] | None = None,
        prefix: str = "",
        window: int | None = None,
        device: str | None = None,
    ) -> None:
        """Load.

        Args:
            model: a name on the model hub, or a folder.
            layers: from 1; -1 is the last. None: the last alone.
            prefix: put before every window of a text.
            window: tokens of a window; None: what the model sees, at most 512.
            device: None: CUDA where there is a GPU, else CPU.

        Raises:
            ConfigError: a layer or the window is impossible for this model.
            EncoderError: torch or transformers is not installed, or the model cannot be loaded.
        """
        with needs_extra("hidden-states", EncoderError):
            import torch
            import transformers
        self._torch = torch
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        options = {"trust_remote_code": False, "local_files_only": Path(model).is_dir()}
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(model, **options)
            self._model = transformers.AutoModel.from_pretrained(
                model, dtype=self._torch.float32 if self._device == "cpu" else "auto", **options
            )
            self._model.to(self._device).eval()
        except (OSError, ValueError, KeyError, AttributeError, RuntimeError, ImportError) as error:
            raise EncoderError(
                f"language model {model!r} cannot be loaded ({' '.join(str(error).split())[:300]}); give a causal model's name "
                "on the model hub, or a folder that save_pretrained wrote, with its tokenizer"
            ) from error
        config = self._model.config.get_text_config()
        count, seen = int(config.num_hidden_layers), int(getattr(config, "max_position_embeddings", LONGEST_WINDOW))
        chosen = [-1] if layers is None else list(layers)
        if not chosen or not all(0 < abs(layer) <= count for layer in chosen):
            raise ConfigError(f"model {model!r} has the layers 1 to {count} (or -1, the last, to -{count}), got {chosen}")
        self._layers = sorted({layer if layer > 0 else count + 1 + layer for layer in chosen})
        self._prefix, self._window = prefix, window or min(seen, LONGEST_WINDOW)
        if not 16 <= self._window <= seen:
            raise ConfigError(f"model {model!r} sees {seen} tokens; a window must be of 16 to so many, got {self._window}")
        self._count = lru_cache(maxsize=65_536)(self._tokens)
        self._digest = weights_digest(self._model.state_dict())
        first = self.embed_texts([PROBE_TEXT])
        self.text_dim, self._probe = first.shape[1], probe(lambda _: first, PROBE_VALUES)

    @property
    def spec(self) -> Spec:
        return {
            "backend": "hidden-states",
            "weights_sha256": self._digest,
            "probe": self._probe,
            "layers": self._layers,
            "states": STATES,
            **({"prefix": self._prefix} if self._prefix else {}),
            "text_window": {"tokens": self._window, "overlap": self._window // 8, "max_windows": MAX_WINDOWS},
        }

    def windows(self, text: str) -> list[str]:
        room = self._window - 2 - (self._count(self._prefix) if self._prefix else 0)
        return word_windows(text, self._count, room, self._window // 8)

    def embed_texts(self, texts: list[str]) -> Array:
        """Return ``[N, 2 * layers * D]``. The batch is padded on the right, where a causal model does not look."""
        ids = [self._tokenizer(self._prefix + text, truncation=True, max_length=self._window)["input_ids"] for text in texts]
        lengths = [max(len(one), 1) for one in ids]
        padded = np.zeros((len(ids), max(lengths)), dtype=np.int64)
        mask = np.zeros_like(padded)
        for row, one in enumerate(ids):
            padded[row, : len(one)] = one
            mask[row, : lengths[row]] = 1
        tensor = self._torch.from_numpy
        with self._torch.inference_mode():
            states = self._model(
                input_ids=tensor(padded).to(self._device), attention_mask=tensor(mask).to(self._device),
                output_hidden_states=True, use_cache=False,
            ).hidden_states  # fmt: skip
        found = [states[layer].float().cpu().numpy() for layer in self._layers]
        return np.stack([np.concatenate([pool_states(one[row, : lengths[row]]) for one in found]) for row in range(len(ids))])

    def _tokens(self, word: str) -> int:
        return len(self._tokenizer(word, add_special_tokens=False)["input_ids"])


def pool_states(states: Array) -> Array:
    """Return ``[2 D]`` of states ``[T, D]``: the mean of all but the first, and the last one, each of unit length."""
    return unit(np.stack([states[min(1, len(states) - 1) :].mean(axis=0), states[-1]])).reshape(-1)
