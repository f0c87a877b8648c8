"""Which encoder: argument, then environment, then what a router's artifact says, then the embedded default.

A back end has a name here, or is registered by an installed package (entry point group ``auto_router.encoders``), or is code
of one's own, ``module:Class``. An artifact says how its encoder is opened again, but it is a file that may come from anybody.
So it brings no code: ``module:Class`` must be named by who opens it. And it gets no key: where it alone names the address, a
key goes there only if that key belongs to that host.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Mapping
from importlib.metadata import entry_points
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from auto_router.arrays import Array
from auto_router.data.embeddings import Spec
from auto_router.encode.encoder import EmbeddingGenerator, Encoder
from auto_router.encode.retry import HOST_KEYS
from auto_router.errors import ConfigError, EncoderError

GROUP = "auto_router.encoders"
# Each back end has packages of its own, so each is imported only when it is chosen.
BUILT_IN = {
    "local": "auto_router.encode.local:LocalEncoder",
    "local-multilingual": "auto_router.encode.multilingual:MultilingualEncoder",
    "openai": "auto_router.encode.openai:OpenAIEncoder",
    "onnx": "auto_router.encode.onnx:OnnxEncoder",
    "hidden-states": "auto_router.encode.hidden_states:HiddenStatesEncoder",
    "llama-cpp": "auto_router.encode.llama_cpp:LlamaCppEncoder",
    "sentence-transformers": "auto_router.encode.sentence_transformers:SentenceTransformersEncoder",
    "clip-server": "auto_router.encode.clip_server:ClipServerEncoder",
    "nvclip": "auto_router.encode.nvclip:NvclipEncoder",
    "open_clip": "auto_router.encode.open_clip:OpenClipEncoder",
}
BACKENDS = tuple(BUILT_IN)
_STORED = ("model", "url", "dimensions", "prefix", "window", "pooling", "images", "languages", "layers")
"""Options that open a back end again, beside its name."""


def open_encoder(
    backend: str | None = None,
    clip_server: str | None = None,
    model: str | None = None,
    url: str | None = None,
    threads: int | None = None,
    *,
    image_encoder: str | None = None,
    image_model: str | None = None,
    image_url: str | None = None,
    **options: Any,
) -> EmbeddingGenerator:
    """Open an encoder.

    Args:
        backend: one of ``BACKENDS``, the name of a registered one, or ``module:Class``; None: ``AUTO_ROUTER_ENCODER``, else
            clip-server where an address is given, else local.
        clip_server: ``HOST:PORT``; None: ``AUTO_ROUTER_CLIP_SERVER``, else, for the clip-server back end,
            ``0.0.0.0:51000``.
        model: name or folder of the model; None: ``AUTO_ROUTER_ENCODER_MODEL``, else the back end's default.
        url: base URL of a service; None: ``AUTO_ROUTER_ENCODER_URL``, else the back end's default.
        threads: cores that one call of an encoder in this process may use; None leaves the choice to it.
        image_encoder, image_model, image_url: another encoder for the images; that of the texts then sees none. None:
            ``AUTO_ROUTER_IMAGE_ENCODER``, ``AUTO_ROUTER_IMAGE_ENCODER_MODEL``, ``AUTO_ROUTER_IMAGE_ENCODER_URL``.
        options: what else a back end takes: ``key_env`` (env ``AUTO_ROUTER_ENCODER_KEY_ENV``), ``dimensions``, ``prefix``,
            ``window``, ``pooling``, ``images``, ``layers``. None means its default. ``languages``, for every back end: those
            that its model knows, such as ``["de", "fr"]`` or ``["any"]``: the language guard calls them familiar.

    Raises:
        ConfigError: an unknown back end, or a setting that it does not have.
        EncoderError: the back end cannot be loaded or reached.
    """
    clip_server = clip_server or os.environ.get("AUTO_ROUTER_CLIP_SERVER")
    backend = backend or os.environ.get("AUTO_ROUTER_ENCODER") or ("clip-server" if clip_server else "local")
    if backend == "clip-server":
        url = url or clip_server
    given = {"model": model, "url": url, "threads": threads, **options}
    text = _open(backend, given, _environment("AUTO_ROUTER_ENCODER"))
    image_encoder = image_encoder or os.environ.get("AUTO_ROUTER_IMAGE_ENCODER")
    if image_encoder is None:
        if image_model or image_url:
            raise ConfigError("image_model and image_url are for an encoder of pictures; name it: image_encoder")
        return text
    pictures = {"model": image_model, "url": image_url, "images": options.get("images")}
    return _join(text, _open(image_encoder, pictures, _environment("AUTO_ROUTER_IMAGE_ENCODER")))


def reopen_encoder(
    spec: Spec, clip_server: str | None = None, image_url: str | None = None, image_model: str | None = None, **given: Any
) -> EmbeddingGenerator:
    """Open the encoder that an artifact was trained with; it is not yet checked that it is the one.

    Args:
        spec: the artifact's.
        clip_server: ``HOST:PORT`` of a clip-server that answers elsewhere by now; as in :func:`open_encoder`.
        image_url, image_model: address and model of the part for images, where encoders are joined.
        given: ``encoder``, ``model``, ``url``, ``key_env``, ``threads``; None: the environment, else what the artifact says.
            An encoder that takes no address, model or key is opened without.

    Raises:
        ConfigError, EncoderError: as :func:`open_encoder`; the artifact names code that nobody else has named, or a key
            would go to an address that nobody else has named.
    """
    own = given.pop("encoder", None)
    if spec.get("backend") == "joined" and own is None:
        text = reopen_encoder(spec.get("text", {}), clip_server, **given)
        image = {"url": image_url, "model": image_model}
        return _join(text, _reopen(spec.get("image", {}), None, image, "AUTO_ROUTER_IMAGE_ENCODER"))
    clip_server = clip_server or os.environ.get("AUTO_ROUTER_CLIP_SERVER")
    if clip_server and (own or spec.get("backend")) == "clip-server":
        given["url"] = given.get("url") or clip_server
    return _reopen(spec, own, given, "AUTO_ROUTER_ENCODER")


def _reopen(spec: Spec, own: str | None, given: Mapping[str, Any], prefix: str) -> EmbeddingGenerator:
    stored: dict[str, Any] = dict(spec.get("opens_with") or {})
    named = stored.pop("backend", None) or spec.get("backend") or "local"
    backend = own or named
    if ":" in str(named) and own is None and os.environ.get(prefix) != named:
        raise EncoderError(
            f"this router's encoder is code outside the project, {named!r}, and an artifact may not choose what code runs: "
            f"open it with encoder={named!r} (or {prefix}={named}) if you trust that code"
        )
    if backend != named:
        stored = {}
    chosen: dict[str, Any] = _environment(prefix) | {
        name: value for name, value in _without_none(given).items() if name != "threads"
    }
    _check_key(stored, chosen, prefix)
    if "url" in stored and not {"url", "key_env"} & set(chosen):
        chosen["key_env"] = stored.get("key_env", "")  # none was needed: none is sent
    return _open(backend, {"threads": given.get("threads")}, {**stored, **chosen})


def _check_key(stored: Mapping[str, Any], chosen: Mapping[str, Any], prefix: str) -> None:
    """Raise ConfigError where a key would go to an address that only the artifact names."""
    url, key_env = stored.get("url"), stored.get("key_env")
    if not key_env or "url" in chosen or "key_env" in chosen:
        return
    host = urlsplit(str(url)).hostname or ""
    if HOST_KEYS.get(host) != key_env and not _is_loopback(host):
        raise ConfigError(
            f"this artifact alone says that the key in {key_env} goes to {url}. If that is right, name the address "
            f"yourself: {prefix}_URL={url} or encoder_url="
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _without_none(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _environment(prefix: str) -> dict[str, str]:
    names = {"model": f"{prefix}_MODEL", "url": f"{prefix}_URL", "key_env": f"{prefix}_KEY_ENV"}
    return {name: value for name, variable in names.items() if (value := os.environ.get(variable))}


def _open(backend: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> EmbeddingGenerator:
    """Open one back end; ``defaults`` that it does not take are left out, of what is ``given`` that is an error."""
    kind, languages = _load(backend), given.get("languages") or defaults.get("languages")
    given, defaults = ({k: v for k, v in some.items() if k != "languages"} for some in (given, defaults))
    try:
        parameters = inspect.signature(kind).parameters
    except (TypeError, ValueError) as error:
        raise ConfigError(f"encoder {backend!r} is no Encoder ({error}); see docs/extending.md") from error
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    refused = [name for name in _without_none(given) if name not in parameters and not takes_all]
    if refused == ["threads"]:
        raise ConfigError(
            f"threads is for encoders in this process; this router's is {backend!r}: set them where that one runs"
        )
    if refused:
        takes = [name for name in (*_STORED, "key_env", "threads") if name in parameters]
        raise ConfigError(
            f"encoder {backend!r} takes no {refused[0]}, got {given[refused[0]]!r}; it takes {', '.join(takes) or 'no options'}"
        )
    options = {name: value for name, value in defaults.items() if name in parameters or takes_all} | _without_none(given)
    required = [one.name for one in parameters.values() if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    missing = [name for name in required if name not in options]
    if missing:
        raise ConfigError(f"encoder {backend!r} needs a {missing[0]}: --encoder-{missing[0]}, or {missing[0]}= in Python")
    encoder = kind(**options)
    if not isinstance(encoder, Encoder):
        raise ConfigError(f"encoder {backend!r} is no Encoder but makes {type(encoder).__name__}; see docs/extending.md")
    stored = {name: options[name] for name in _STORED if name in options} | encoder.resolved
    if languages is not None:
        encoder.languages = tuple(languages)
        stored["languages"] = list(languages)
    if encoder.spec.get("backend") != backend:
        stored["backend"] = backend
    return EmbeddingGenerator(encoder, stored)


def _load(backend: str) -> Any:
    """Return the class, or whatever makes an encoder, of a back end."""
    registered = {point.name: point for point in entry_points(group=GROUP)}
    if backend in BUILT_IN:
        target = BUILT_IN[backend]
    elif backend in registered:
        target = registered[backend].value
    elif ":" in backend:
        target = backend
    else:
        names = ", ".join([*BACKENDS, *sorted(set(registered) - set(BACKENDS))])
        raise ConfigError(f"encoder {backend!r} is unknown; allowed are {names}, or module:Class of your own")
    module, _, name = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"encoder {backend!r} cannot be imported ({error}); is its package installed, or its folder in PYTHONPATH?"
        ) from error
    return found


def _join(text: EmbeddingGenerator, image: EmbeddingGenerator) -> EmbeddingGenerator:
    if not image.image_dim:
        raise ConfigError(
            f"the encoder for pictures, {image.spec['backend']!r}, takes none; open it with images, or take another"
        )
    return EmbeddingGenerator(JoinedEncoder(text, image))


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
