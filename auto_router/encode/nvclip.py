"""NVCLIP, self-hosted or NVIDIA's: an OpenAI-style embeddings service of 1024 values for a text and 1024 for an image.

A request holds at most 64 items, texts and images alike, and no other fields than ``input``, ``model``, ``encoding_format``.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from auto_router.data.embeddings import Spec, probe
from auto_router.encode.openai import OpenAIEncoder
from auto_router.encode.retry import HOST_KEYS
from auto_router.encode.windows import clip_window_spec, clip_windows

DEFAULT_URL = "http://127.0.0.1:8000/v1"
NVCLIP_KEY_ENV = "AUTO_ROUTER_NVCLIP_KEY"
DIM = 1024


class NvclipEncoder(OpenAIEncoder):
    """An NVCLIP service at ``url``. The model's first answer is asked for at opening, and stands in the spec as a probe."""

    name = "NVCLIP"
    text_dim = image_dim = DIM
    batch_size = 64  # the most the API takes in a request
    splits = False

    def __init__(self, url: str | None = None, model: str | None = None, key_env: str | None = None) -> None:
        """Connect.

        Args:
            url: base URL, ``.../v1``; None: a service on this machine.
            model: None: ``nvidia/nvclip`` at NVIDIA's, else ``nvidia/nvclip-vit-h-14``.
            key_env: the variable that holds the key; None: ``NVIDIA_API_KEY`` at NVIDIA's, which goes nowhere else, else
                ``AUTO_ROUTER_NVCLIP_KEY``, which may be unset.

        Raises:
            ConfigError: the URL is none, or the key for the hosted service is not set.
            EncoderError: the service does not answer as promised.
        """
        url = url or DEFAULT_URL
        hosted = urlsplit(url).hostname in HOST_KEYS
        self._set_address(url, key_env, NVCLIP_KEY_ENV)
        self._headers.setdefault("Authorization", "Bearer none")  # the container wants the header, and takes any
        self._dimensions, self._prefix, self._images = None, "", "uri"
        self.model = model or ("nvidia/nvclip" if hosted else "nvidia/nvclip-vit-h-14")
        self._probe = probe(self.embed_texts)

    @property
    def spec(self) -> Spec:
        return {"backend": "nvclip", "model": self.model, "text_window": clip_window_spec(), "probe": self._probe}

    def windows(self, text: str) -> list[str]:
        return clip_windows(text)
