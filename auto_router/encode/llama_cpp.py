"""Hidden states of a language model behind llama.cpp's own ``/embeddings``: mean and last token of its last layer.

The server must not pool: ``llama-server -m MODEL.gguf --embeddings --pooling none``; then it answers with the state of every
token. A server that pools is an ordinary embeddings service: the ``openai`` back end.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from auto_router.arrays import Array
from auto_router.data.embeddings import Spec
from auto_router.encode.hidden_states import STATES, pool_states
from auto_router.encode.openai import OpenAIEncoder, read_numbers
from auto_router.errors import ConfigError, EncoderError

LLAMA_URL = "http://127.0.0.1:8080"
WINDOW = 256  # estimated tokens: the server takes 512 at once unless it was told otherwise


class LlamaCppEncoder(OpenAIEncoder):
    """A llama.cpp server at ``url``. It is asked for one text when it is opened; images are not seen."""

    name = "llama.cpp"
    batch_size = 4  # every token's state comes as text
    parallel = 1
    served_windows = 2

    def __init__(
        self,
        url: str | None = None,
        model: str | None = None,
        key_env: str | None = None,
        prefix: str = "",
        window: int = WINDOW,
    ) -> None:
        """Connect.

        Args:
            url: ``http(s)://HOST[:PORT]``; None: a server on this machine.
            model: None: the one that the server has.
            key_env: the variable that holds the key; None: ``AUTO_ROUTER_ENCODER_KEY``, which may be unset.
            prefix: put before every window of a text.
            window: estimated tokens of a window, the prefix included; no more than the server's ``--ubatch-size`` takes.

        Raises:
            ConfigError: a setting is impossible.
            EncoderError: the server does not answer with the states of tokens.
        """
        self._set_address(url or LLAMA_URL, key_env)
        self.url = self.url.removesuffix("/v1")
        if window < 16:
            raise ConfigError(f"the llama-cpp encoder takes a window from 16 tokens, got {window}")
        self._dimensions, self._prefix, self._window, self._images = None, prefix, window, None
        self.model = model or self._only_model()
        self._open()

    @property
    def spec(self) -> Spec:
        return {**super().spec, "backend": "llama-cpp", "states": STATES}

    def _ask(self, body: dict[str, Any], count: int) -> Array:
        answer, where = self._send("POST", "embeddings", {"content": body["input"]}), f"{self.name} {self.url}"
        try:
            found = sorted(answer, key=lambda item: item["index"])
            rows = [read_numbers(item["embedding"]) for item in found]
        except (KeyError, TypeError, ValueError) as error:
            raise EncoderError(f"{where} answered without the states of tokens ({type(error).__name__}: {error})") from error
        if len(rows) != count or len({row.shape[1:] for row in rows}) > 1 or any(row.ndim != 2 or not row.size for row in rows):
            raise EncoderError(f"{where} answered {count} text(s) with states of {[row.shape for row in rows][:8]}")
        if all(len(row) == 1 for row in rows) and any(len(text) > 40 for text in body["input"]):
            raise EncoderError(f"{where} pools: start it with --pooling none, or take the openai encoder for it")
        return np.stack([pool_states(row) for row in rows])
