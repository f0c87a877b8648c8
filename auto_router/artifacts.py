"""The router artifact ``nn_router.pth`` and its companions.

One ``torch.save`` dict of tensors and plain values, read with ``weights_only=True``: opening one runs no code. The
``.joblib`` companions are for people and notebooks; nothing on the routing path reads them.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from auto_router.decide.operating_points import OperatingPoint
from auto_router.encode.surface import NAMES as SURFACE
from auto_router.errors import ArtifactError, ConfigError
from auto_router.files import atomic_path
from auto_router.learn.calibration import Calibration
from auto_router.learn.heads import Rule
from auto_router.learn.networks import Network, build, describe
from auto_router.learn.stack import StackNetwork

Floats = npt.NDArray[np.floating[Any]]

FORMAT = 1
_TYPES: dict[str, type] = {
    "state_dict": dict, "network": dict, "model_names": list, "encoder": dict, "surface": list, "calibration": dict,
    "pool": dict, "operating_points": dict, "training": dict,
}  # fmt: skip


@dataclass(slots=True)
class Artifact:
    """A trained router: its network and all that is needed to serve it."""

    network: Network
    model_names: list[str]
    encoder: dict[str, Any]
    pool: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration = field(default_factory=Calibration)
    operating_points: dict[str, OperatingPoint] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    surface: list[str] = field(default_factory=list)
    """Names of the surface features that are appended to the embeddings; empty for none."""

    _rule: Rule | None = field(default=None, init=False, repr=False)

    def compile(self) -> None:
        """Make the network ready for many calls. Raises ConfigError where its tables are damaged."""
        if isinstance(self.network, StackNetwork):
            self._rule = self.network.compiled(self.encoder.get("text_dim"))

    def predict(self, rows: Floats, device: torch.device | str = "cpu") -> Floats:
        """Return calibrated P(correct) ``[N, M]`` for input rows ``[N, D]``; ``device``: where its network was moved to."""
        if self._rule is None:
            self.compile()
        if self._rule is not None:
            return self.calibration(self._rule(rows))
        with torch.inference_mode():
            found: Floats = self.network(torch.from_numpy(rows).to(device)).cpu().numpy()
        return self.calibration(found)


def save_artifact(path: str | Path, artifact: Artifact) -> None:
    """Write ``artifact``, whole or not at all."""
    content = {
        "format": FORMAT,
        "state_dict": {name: tensor.cpu() for name, tensor in artifact.network.state_dict().items()},
        "network": describe(artifact.network),
        "model_names": list(artifact.model_names),
        "encoder": artifact.encoder,
        "surface": list(artifact.surface),
        "calibration": artifact.calibration.to_plain(),
        "pool": artifact.pool,
        "operating_points": {name: point.to_plain() for name, point in artifact.operating_points.items()},
        "training": artifact.training,
    }
    with atomic_path(Path(path)) as temporary:
        torch.save(content, temporary)


def load_artifact(path: str | Path) -> Artifact:
    """Read an artifact; the network comes in eval mode, on CPU.

    Raises:
        ArtifactError: the file is missing, damaged, of another format, or its parts do not fit each other.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"router artifact {path} does not exist; train one with nn_router.py or give router_path=")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own message advises to read the file unsafely; that advice must not be passed on.
        raise ArtifactError(
            f"router artifact {path} is not one: it holds more than tensors and plain values, or is damaged; nothing in it "
            "was run. Train it again"
        ) from error
    except (zipfile.BadZipFile, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ArtifactError(f"router artifact {path} is damaged or not an artifact ({reason}); train it again") from error
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, Mapping) else type(content).__name__
        raise ArtifactError(f"router artifact {path} has format {found!r}, this version reads {FORMAT}; train it again")
    wrong = [name for name, type_ in _TYPES.items() if not isinstance(content.get(name), type_)]
    if wrong:
        raise ArtifactError(f"router artifact {path} lacks or has damaged entries {', '.join(wrong)}; train it again")
    return _build(path, content)


def _build(path: Path, content: Mapping[str, Any]) -> Artifact:
    names = content["model_names"]
    try:
        network = build(content["network"])
        config = network.config
        if config.n_models != len(names) or len(set(names)) != len(names) or not all(isinstance(n, str) for n in names):
            raise ConfigError(f"{config.n_models} outputs for the models {names}")
        if content["surface"] not in ([], list(SURFACE)):
            raise ConfigError(f"surface features {content['surface']}, this version computes {list(SURFACE)}")
        width = sum(content["encoder"].get(part, 0) for part in ("text_dim", "image_dim")) + len(content["surface"])
        if config.input_dim != width:
            raise ConfigError(f"network input {config.input_dim} for embeddings of width {width}")
        network.load_state_dict(content["state_dict"])
        calibration = Calibration.from_plain(content["calibration"], len(names))
        points = {name: OperatingPoint.from_plain(values) for name, values in content["operating_points"].items()}
    except (ConfigError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(f"router artifact {path}: its parts do not fit ({reason}); train it again") from error
    rest = {name: content[name] for name in ("encoder", "surface", "pool", "training")}
    return Artifact(network=network, model_names=list(names), calibration=calibration, operating_points=points, **rest)
