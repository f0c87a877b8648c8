"""The router artifact ``nn_router.pth`` and its companions.

One ``torch.save`` dict of tensors and plain values, read with ``weights_only=True``: opening one runs no code. The
``.joblib`` companions are for people and notebooks; nothing on the routing path reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from auto_router.arrays import Floats
from auto_router.decide.operating_points import OperatingPoint
from auto_router.encode.surface import NAMES as SURFACE
from auto_router.errors import ArtifactError, ConfigError
from auto_router.files import atomic_path
from auto_router.learn.affine import Part, add_parts
from auto_router.learn.calibration import Calibration
from auto_router.learn.cost_model import CostModel
from auto_router.learn.familiar import Familiar, beyond
from auto_router.learn.graph import Layout, Rule, served
from auto_router.learn.networks import Network, build, describe
from auto_router.learn.stack import StackNetwork
from auto_router.learn.subset import applied
from auto_router.safe_load import check_plain, fill, load_plain

FORMAT = 2
READABLE = (1, 2)  # format 1 had no landmarks and expected costs, and kept the lengths of the anchors
_TYPES: dict[str, type] = {
    "state_dict": dict, "network": dict, "model_names": list, "encoder": dict, "surface": list, "calibration": dict,
    "pool": dict, "operating_points": dict, "training": dict,
    "familiar": dict, "cost_model": dict,
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
    familiar: Familiar | None = None
    """Landmarks of the training rows; None where novelty is not to be measured."""
    cost_model: CostModel | None = None
    """Expected cost of each answer by prompt; None where training had no costs, or none that the prompt tells."""

    _rule: Rule | None = field(default=None, init=False, repr=False)

    @property
    def layout(self) -> Layout:
        """Blocks of an input row. Raises ConfigError where the encoder's widths are none."""
        return Layout(self.encoder.get("text_dim", 0), self.encoder.get("image_dim", 0), len(self.surface))

    def compile(self) -> None:
        """Make the router ready for many calls. Raises ConfigError where its tables are damaged."""
        parts: list[Part] = [self.network] if isinstance(self.network, StackNetwork) else []
        parts += [] if self.familiar is None else [self.familiar]
        self._rule = served(lambda graph: add_parts(graph, parts), self.layout) if parts else lambda rows, image_counts=None: []

    def look(
        self, rows: Floats, device: torch.device | str = "cpu", image_counts: Sequence[int] | None = None
    ) -> tuple[Floats, Floats | None]:
        """Return calibrated P(correct) ``[N, M]`` of input rows ``[N, D]``, and how far each is from all of training, ``[N]``.

        1 is the limit of the familiar; None: not measured. ``device``: where the network was moved to. ``image_counts``:
        how many pictures each row has, where that is known; else the rows tell.
        """
        if self._rule is None:
            self.compile()
        assert self._rule is not None
        found = self._rule(rows, image_counts)
        if not isinstance(self.network, StackNetwork):
            found = [applied(self.network, rows, device), *found]
        return self.calibration(found[0]), None if self.familiar is None else found[1][:, 0]

    def predict(self, rows: Floats) -> Floats:
        """Return P(correct) alone, see :meth:`look`."""
        return self.look(rows)[0]

    def expected_costs(self, rows: Floats) -> Floats | None:
        """Return what answers to input rows ``[N, D]`` (or one ``[D]``) are expected to cost, ``[N, M]``; None: not known."""
        return None if self.cost_model is None else self.cost_model(rows)

    def unfamiliar(self, rows: Floats) -> npt.NDArray[np.bool_] | None:
        """Return ``[N]``: the rows that go to the guarded default; None where there are none."""
        return beyond(self.look(rows)[1])


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
        "familiar": {} if artifact.familiar is None else artifact.familiar.to_plain(),
        "cost_model": {} if artifact.cost_model is None else artifact.cost_model.to_plain(),
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
    content = load_plain(path)
    found = content.get("format") if isinstance(content, Mapping) else type(content).__name__
    if not isinstance(content, Mapping) or not isinstance(found, int) or found not in READABLE:
        newer = isinstance(found, int) and found > FORMAT
        raise ArtifactError(
            f"router artifact {path} has format {repr(found)[:40]}, this version reads {' and '.join(map(str, READABLE))}; "
            f"{'install a newer version' if newer else 'train it again'}"
        )
    if found == 1:
        content = _from_format_1(content)
    wrong = [name for name, type_ in _TYPES.items() if not isinstance(content.get(name), type_)]
    if wrong:
        raise ArtifactError(f"router artifact {path} lacks or has damaged entries {', '.join(wrong)}; train it again")
    return _build(path, content)


def _from_format_1(content: Mapping[str, Any]) -> dict[str, Any]:
    state = content.get("state_dict")
    kept = {k: v for k, v in state.items() if not str(k).endswith(".anchor_norms")} if isinstance(state, dict) else state
    return {**content, "state_dict": kept, "familiar": {}, "cost_model": {}}


def _build(path: Path, content: Mapping[str, Any]) -> Artifact:
    names = content["model_names"]
    try:
        for entry in _TYPES:
            check_plain(content[entry], tensors=entry in ("state_dict", "familiar", "cost_model"))
        with torch.device("meta"):
            network = build(content["network"])
        config = network.config
        if config.n_models != len(names) or not all(isinstance(n, str) for n in names) or len(set(names)) != len(names):
            raise ConfigError(f"{config.n_models} outputs for the models {names}")
        if content["surface"] not in ([], list(SURFACE)):
            raise ConfigError(f"surface features {content['surface']}, this version computes {list(SURFACE)}")
        fill(network, content["state_dict"])
        calibration = Calibration.from_plain(content["calibration"], len(names))
        points = {name: OperatingPoint.from_plain(values) for name, values in content["operating_points"].items()}
        _check_pool(content["pool"])
        embedded = config.input_dim - len(content["surface"])
        familiar = Familiar.from_plain(content["familiar"], embedded, len(names))
        cost_model = CostModel.from_plain(content["cost_model"], config.input_dim, len(names))
        rest = {name: content[name] for name in ("encoder", "surface", "pool", "training")}
        found = Artifact(
            network.eval(), list(names), calibration=calibration, operating_points=points, familiar=familiar,
            cost_model=cost_model, **rest,
        )  # fmt: skip
        if found.layout.dim != config.input_dim:
            raise ConfigError(f"network input {config.input_dim} for {found.layout}")
        found.compile()
        _try(found)
    except (ConfigError, RuntimeError, TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(f"router artifact {path}: its parts do not fit ({reason}); train it again") from error
    return found


def _try(artifact: Artifact) -> None:
    """Raise ConfigError where inputs of a usual size bring no numbers: some of the tables' numbers are beyond all reason."""
    rows = np.ones((3, artifact.layout.dim), dtype=np.float32) * np.array([[4.0], [-4.0], [4.0]], dtype=np.float32)
    rows[2, artifact.layout.blocks["image"]] = 0.0
    if not all(np.isfinite(found).all() for found in artifact.look(rows) if found is not None):
        raise ConfigError("its network gives no numbers")


def _check_pool(pool: Mapping[Any, Any]) -> None:
    for name, facts in pool.items():
        window = facts.get("context_window")
        if not isinstance(window, int | float | None) or isinstance(facts.get("modalities", []), str):
            raise ConfigError(f"pool entry {name!r} is damaged: {dict(facts)}")
