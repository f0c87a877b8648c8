"""Two encoders as one: the texts of one, the images of another."""

from __future__ import annotations

from auto_router.arrays import Array
from auto_router.data.embeddings import Spec
from auto_router.encode.encoder import EmbeddingGenerator, Encoder


class JoinedEncoder(Encoder):
    """Texts go to ``text``, images to ``image``; the spec holds both specs, and both are compared."""

    def __init__(self, text: EmbeddingGenerator, image: EmbeddingGenerator) -> None:
        self._parts = text, image
        self._text, self._image = text.encoder, image.encoder
        self.text_dim, self.image_dim = text.text_dim, image.image_dim
        self.batch_size = min(self._text.batch_size, self._image.batch_size)
        self.languages = self._text.languages
        self.parallel = min(self._text.parallel, self._image.parallel)

    @property
    def spec(self) -> Spec:
        text, image = self._parts
        window = {name: text.spec[name] for name in ("text_window",) if name in text.spec}
        return {"backend": "joined", "text": text.spec, "image": image.spec, **window}

    def windows(self, text: str) -> list[str]:
        return self._text.windows(text)

    def embed_texts(self, texts: list[str]) -> Array:
        return self._text.embed_texts(texts)

    def embed_images(self, images: list[bytes]) -> Array:
        return self._image.embed_images(images)

    def limit_requests(self, timeout_s: float, attempts: int) -> None:
        self._text.limit_requests(timeout_s, attempts)
        self._image.limit_requests(timeout_s, attempts)

    def close(self) -> None:
        self._text.close()
        self._image.close()
