"""The router artifact ``nn_router.pth`` and its companions.

One ``torch.save`` dict of tensors and plain values, read with ``weights_only=True``: opening one runs no code. Beside that of
the default network lies ``nn_router.safetensors`` with the same content: where it names the digest of the ``.pth`` it is read
instead, without torch, which takes longer to import than the rest of a router. The ``.joblib`` companions are for people and
notebooks; nothing on the routing path reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

import auto_router.artifact_files as artifact_files
from auto_router.arrays import Floats
from auto_router.data.dataset import Prediction
from auto_router.data.embeddings import Spec
from auto_router.data.pool import ModelFacts
from auto_router.data.prompt_features import FEATURE_NAMES
from auto_router.decide.operating_points import OperatingPoint
from auto_router.decide.policy import Policy, RouterSettings, resolve_policy
from auto_router.errors import ArtifactError, ConfigError
from auto_router.files import atomic_path, sha256_of
from auto_router.learn.calibration import Calibration
from auto_router.learn.cost_model import CostModel
from auto_router.learn.novelty import NoveltyDetector, history_novelty
from auto_router.learn.stack import FeatureLayout, StackConfig, StackNetwork

if TYPE_CHECKING:  # torch is imported where a sigmoid network or a file of torch's own is read or written
    from auto_router.learn.mlp import RouterNetwork

Network: TypeAlias = "StackNetwork | RouterNetwork"

FORMAT = 2
READABLE = (1, 2)  # format 1 had no anchors of novelty and no expected costs, and kept the lengths of the kernels' anchors

_TYPES: dict[str, type] = {
    "state_dict": dict, "network": dict, "model_names": list, "encoder": dict, "surface": list, "calibration": dict,
    "pool": dict, "operating_points": dict, "training": dict, "familiar": dict, "cost_model": dict,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """How a router was trained, and what came of it on the test set. All of it plain values."""

    seed: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    """The head's settings."""
    train_sha256: str = ""
    test_sha256: str = ""
    search: Sequence[Mapping[str, Any]] = ()
    """The trials of a search, the best first."""
    compared: Mapping[str, Any] = field(default_factory=dict)
    """``{head: its measures out of fold and its settings}`` where two heads were fitted."""
    conversations: int = 0
    """Training rows that came with what was said before; 0: trained on single prompts."""
    label_sources: Mapping[str, int] = field(default_factory=dict)
    """How many records of training and test have labels of which source; empty: not known."""
    policy: Mapping[str, Any] = field(default_factory=dict)
    """``model_thresholds`` and ``model_costs`` that the metrics were taken under."""
    reference: Mapping[str, Any] = field(default_factory=dict)
    """What decisions look like on training rows, out of fold: ``probability``, ``spread``, ``unfamiliar``."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    edits: Sequence[str] = ()
    """What was changed after training."""

    def to_plain(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> TrainingSummary:
        """Build from :meth:`to_plain`; what is missing is the default. Raises ConfigError where a value has another type."""
        default, known = cls(), {part.name: values[part.name] for part in fields(cls) if part.name in values}
        kinds: dict[type, type | tuple[type, ...]] = {dict: dict, tuple: (list, tuple), str: str, int: int}
        wrong = [name for name, value in known.items() if not isinstance(value, kinds[type(getattr(default, name))])]
        if wrong:
            raise ConfigError(f"the summary of training is damaged: {', '.join(wrong)}")
        return cls(**known)


@dataclass(frozen=True)
class Artifact:
    """A trained router: its network and all that is needed to serve it."""

    network: Network
    model_names: tuple[str, ...]
    encoder: Spec
    facts: Mapping[str, ModelFacts] = field(default_factory=dict)
    calibration: Calibration = field(default_factory=Calibration)
    operating_points: Mapping[str, OperatingPoint] = field(default_factory=dict)
    training: TrainingSummary = field(default_factory=TrainingSummary)
    prompt_features: tuple[str, ...] = ()
    """Names of the features of the prompt that stand behind its embedding; empty for none."""
    novelty: NoveltyDetector | None = None
    """None where novelty is not to be measured."""
    cost_model: CostModel | None = None
    """None where training had no costs, or none that the prompt tells."""

    @property
    def layout(self) -> FeatureLayout:
        """Blocks of an input row. Raises ConfigError where the encoder's widths are none."""
        return FeatureLayout(self.encoder.get("text_dim", 0), self.encoder.get("image_dim", 0), len(self.prompt_features))

    @property
    def policy(self) -> Policy:
        """The policy that its metrics were taken under."""
        return resolve_policy(self.model_names, self.operating_points, RouterSettings.of(self.training.policy))

    def predict(
        self, features: Floats, prompts: Sequence[str] | None = None, histories: Sequence[float] | None = None
    ) -> Prediction:
        """Return what the router says of input rows ``[N, D]``: P(correct), novelty, expected costs.

        Args:
            features: the rows.
            prompts: those of the rows; None: novelty does not look at their language.
            histories: tokens of the conversation before each prompt; None: there was none. To a router that was trained on
                single prompts a long one is less familiar.
        """
        novelty = None
        if self.novelty is not None:
            novelty = self.novelty.novelty(features, prompts)
            if histories is not None and any(histories) and not self.training.conversations:
                novelty *= history_novelty(histories)
        costs = None if self.cost_model is None else self.cost_model(features)
        return Prediction(self.calibration(self.network.predict(features)), novelty, costs)


def save_artifact(path: str | Path, artifact: Artifact) -> None:
    """Write ``artifact``, whole or not at all.

    Raises:
        ArtifactError: it cannot be loaded back; what was at ``path`` stays.
    """
    network = artifact.network
    content = {
        "format": FORMAT,
        "state_dict": network.state() if isinstance(network, StackNetwork) else network.state_dict(),
        "network": {"kind": "stack" if isinstance(network, StackNetwork) else "mlp", **network.config.to_plain()},
        "model_names": list(artifact.model_names),
        "encoder": artifact.encoder,
        "surface": list(artifact.prompt_features),
        "calibration": artifact.calibration.to_plain(),
        "pool": {name: facts.to_plain() for name, facts in artifact.facts.items()},
        "operating_points": {name: point.to_plain() for name, point in artifact.operating_points.items()},
        "training": artifact.training.to_plain(),
        "familiar": {} if artifact.novelty is None else artifact.novelty.to_plain(),
        "cost_model": {} if artifact.cost_model is None else artifact.cost_model.to_plain(),
    }
    path = Path(path)
    with atomic_path(path) as temporary:
        artifact_files.write_pth(temporary, content)
        try:
            load_artifact(temporary)
        except ArtifactError as error:
            raise ArtifactError(f"this router could not be opened again, so {path} stays as it was: {error}") from error
    if isinstance(network, StackNetwork):
        artifact_files.write_companion(path.with_suffix(artifact_files.COMPANION), content, sha256_of(path))
    else:
        path.with_suffix(artifact_files.COMPANION).unlink(missing_ok=True)


def load_artifact(path: str | Path, device: str | None = "cpu") -> Artifact:
    """Read an artifact, a ``.pth`` or its ``.safetensors`` companion; a sigmoid network comes in eval mode, on ``device``.

    ``device`` None is CUDA where there is a GPU. The default network always computes on the CPU.

    Raises:
        ArtifactError: the file is missing, damaged, of another format, or its parts do not fit each other.
    """
    path = Path(path)
    if path.is_dir():
        raise ArtifactError(f"router artifact {path} is a folder; give the file in it: {path / 'nn_router.pth'}")
    if not path.is_file():
        raise ArtifactError(
            f"router artifact {path} does not exist; train one with nn_router.py or give another: --router, router_path="
        )
    companion = path.with_suffix(artifact_files.COMPANION)
    content = artifact_files.read_companion(companion, path) if companion.is_file() else None
    content = artifact_files.read_pth(path) if content is None else content
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
    try:
        artifact = _build(content)
        _try(artifact)
    except (ConfigError, RuntimeError, TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtifactError(f"router artifact {path}: its parts do not fit ({reason}); train it again") from error
    if not isinstance(artifact.network, StackNetwork):
        from auto_router.learn.mlp import usable_device

        artifact.network.to(usable_device(device))
    return artifact


def _from_format_1(content: Mapping[str, Any]) -> dict[str, Any]:
    state = content.get("state_dict")
    kept = {k: v for k, v in state.items() if not str(k).endswith(".anchor_norms")} if isinstance(state, dict) else state
    return {**content, "state_dict": kept, "familiar": {}, "cost_model": {}}


def _build(content: Mapping[str, Any]) -> Artifact:
    for entry in _TYPES:
        artifact_files.check_plain(content[entry], arrays=entry in artifact_files.WITH_ARRAYS)
    names = content["model_names"]
    network = _network(content["network"], content["state_dict"])
    config = network.config
    if config.n_models != len(names) or not all(isinstance(n, str) for n in names) or len(set(names)) != len(names):
        raise ConfigError(f"{config.n_models} outputs for the models {names}")
    if content["surface"] not in ([], list(FEATURE_NAMES)):
        raise ConfigError(f"features of the prompt {content['surface']}, this version computes {list(FEATURE_NAMES)}")
    embedded = config.input_dim - len(content["surface"])
    artifact = Artifact(
        network,
        tuple(names),
        content["encoder"],
        {str(name): ModelFacts.from_plain(facts) for name, facts in content["pool"].items()},
        Calibration.from_plain(content["calibration"], len(names)),
        {str(name): OperatingPoint.from_plain(values) for name, values in content["operating_points"].items()},
        TrainingSummary.from_plain(content["training"]),
        tuple(content["surface"]),
        NoveltyDetector.from_plain(content["familiar"], embedded, len(names), len(content["surface"])),
        CostModel.from_plain(content["cost_model"], config.input_dim, len(names)),
    )
    if artifact.layout.dim != config.input_dim:
        raise ConfigError(f"network input {config.input_dim} for {artifact.layout}")
    if isinstance(network, StackNetwork):
        return replace(artifact, network=replace(network, image=artifact.layout.blocks["image"]))
    return artifact


def _network(described: Mapping[str, Any], state: Mapping[str, Any]) -> Network:
    """Build the network that ``described`` tells of from its tensors. Raises ConfigError where they do not fit."""
    settings = {name: value for name, value in described.items() if name != "kind"}
    kind = described.get("kind", "mlp")  # the first artifacts held nothing else
    if kind == "stack":
        return StackNetwork.from_state(StackConfig.from_plain(settings), state)
    if kind != "mlp":
        raise ConfigError(f"network kind {kind!r} is unknown; known are mlp and stack")
    return _sigmoid_network(settings, state)


def _sigmoid_network(settings: Mapping[str, Any], state: Mapping[str, Any]) -> RouterNetwork:
    torch = artifact_files.import_torch("a sigmoid network (nn_router.py --head mlp)")
    from auto_router.learn.mlp import NetworkConfig, RouterNetwork

    # Built on no device, so that nothing is allocated for wrong sizes.
    with torch.device("meta"):
        network = RouterNetwork(NetworkConfig.from_plain(settings))
    expected = network.state_dict()
    if set(state) != set(expected):
        raise ConfigError(f"missing or unknown tensors: {', '.join(sorted(map(str, set(state) ^ set(expected))))[:200]}")
    for name, wanted in expected.items():
        array = state[name]
        if not isinstance(array, np.ndarray):
            raise ConfigError(f"{name} is not a tensor")
        if array.shape != tuple(wanted.shape) or str(array.dtype) not in str(wanted.dtype):
            raise ConfigError(f"{name} is {array.dtype} {list(array.shape)}, not {wanted.dtype} {list(wanted.shape)}")
        if not np.isfinite(array).all():
            raise ConfigError(f"{name} holds values that are not finite")
    network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()}, assign=True)
    return network.eval()


def _try(artifact: Artifact) -> None:
    """Raise ConfigError where inputs of a usual size bring no numbers: some of the tables' numbers are beyond all reason."""
    rows = np.ones((3, artifact.layout.dim), dtype=np.float32) * np.array([[4.0], [-4.0], [4.0]], dtype=np.float32)
    rows[2, artifact.layout.blocks["image"]] = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        prediction = artifact.predict(rows)
    parts = (prediction.probabilities, prediction.novelty)
    if not all(np.isfinite(part).all() for part in parts if part is not None):
        raise ConfigError("its network gives no numbers")
