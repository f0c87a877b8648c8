"""The candidate pool: which models exist, where they answer, what they cost and what they can take (``pool.yaml``).

Any endpoint that speaks OpenAI's chat completions fits: OpenAI, Azure OpenAI, NVIDIA Build, a NIM, vLLM, Ollama, a gateway.
Keys never stand in this file: ``api_key_env`` names the environment variable that holds one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from auto_router.errors import ConfigError, needs_extra

MODALITIES = ("text", "image")
CAPABILITIES = ("image", "tools", "parallel_tools", "json_schema", "pdf", "audio", "video", "reasoning")
"""What a request may need of a model, and ``capabilities:`` in a pool may list."""
RESERVED_PARAMETERS = ("model", "messages", "stream", "n")  # these make the request what it is


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the pool says of one model and a router must know: prices (USD per million tokens) and limits; None = not stated."""

    input_usd_per_mtok: float | None = None
    output_usd_per_mtok: float | None = None
    modalities: tuple[str, ...] | None = None
    context_window: int | None = None
    """Tokens that a request and its answer may have together."""
    capabilities: tuple[str, ...] | None = None
    """Of ``CAPABILITIES``; None = not stated: all but what ``modalities`` leave out."""
    cached_input_usd_per_mtok: float | None = None
    """Of input that the provider has in its prompt cache."""

    @property
    def takes_images(self) -> bool:
        """A model of which nothing is stated may take anything."""
        return self.modalities is None or "image" in (*self.modalities, *(self.capabilities or ()))

    def count_missing(self, needs: Collection[str]) -> int:
        """Return how many capabilities of ``needs`` the model lacks."""
        stated = self.capabilities
        return sum(not (self.takes_images if need == "image" else stated is None or need in stated) for need in needs)

    def accepts(self, tokens: float, needs: Collection[str] = ()) -> bool:
        """Can the model take a request of about ``tokens`` tokens, its answer included, that has these needs?"""
        return (self.context_window is None or tokens <= self.context_window) and not self.count_missing(needs)

    def price(self, prompt_tokens: float, completion_tokens: float) -> float | None:
        """Return USD of one answer; None where a price is unknown."""
        if self.input_usd_per_mtok is None or self.output_usd_per_mtok is None:
            return None
        return (prompt_tokens * self.input_usd_per_mtok + completion_tokens * self.output_usd_per_mtok) / 1e6

    def to_plain(self) -> dict[str, Any]:
        """Return what is stated, as plain values."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> ModelFacts:
        """Build from :meth:`to_plain`. Raises ConfigError where the values are no such facts."""
        known = {part.name: values.get(part.name) for part in fields(cls)}
        lists = {name: known[name] for name in ("modalities", "capabilities")}
        numbers = [value for name, value in known.items() if name not in lists]
        fine = all(n is None or (isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n < math.inf) for n in numbers)
        if not fine or not all(isinstance(value, list | tuple | None) for value in lists.values()):
            raise ConfigError(f"the facts of a model are damaged: {dict(values)}"[:300])
        return cls(**known | {name: None if value is None else tuple(map(str, value)) for name, value in lists.items()})


@dataclass(frozen=True, slots=True)
class PoolModel:
    """One model behind an OpenAI-compatible endpoint. Prices are USD per million tokens; None = unknown.

    ``base_url`` is what precedes ``/chat/completions``; with ``api_version`` it is an Azure resource
    (``https://NAME.openai.azure.com``) and ``model`` the deployment. ``parameters`` goes into the request as it is
    (``top_p``, ``seed``, ``reasoning_effort``, …); a null there takes a default out, such as ``max_tokens: null`` for
    models that want ``max_completion_tokens``. At most ``concurrency`` requests are on the wire at once; rates are per
    minute, None = unlimited; ``timeout_s`` is for one whole answer.
    """

    name: str
    base_url: str = "https://api.openai.com/v1"
    model: str = ""
    api_key_env: str | None = None
    input_usd_per_mtok: float | None = None
    output_usd_per_mtok: float | None = None
    modalities: tuple[str, ...] = ("text",)
    context_window: int | None = None
    capabilities: tuple[str, ...] | None = None
    cached_input_usd_per_mtok: float | None = None
    max_tokens: int = 1024
    temperature: float | None = None
    system_prompt: str | None = None
    concurrency: int = 8
    api_version: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout_s: float = 120.0

    @property
    def address(self) -> str:
        """Where the model answers: one half of what a recorded answer is known by; the request is the other."""
        return self.base_url.rstrip("/")

    @property
    def longest_answer(self) -> int:
        """The most tokens an answer can have."""
        limit = self.parameters.get("max_completion_tokens", self.parameters.get("max_tokens"))
        return limit if isinstance(limit, int) and not isinstance(limit, bool) else self.max_tokens

    def cost(self, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
        """Return the price of one answer in USD; None where a price or a count is unknown."""
        counted = (prompt_tokens, self.input_usd_per_mtok), (completion_tokens, self.output_usd_per_mtok)
        total = 0.0
        for tokens, price in counted:
            if tokens is None or tokens < 0 or price is None:  # some servers count -1 for "unknown"
                return None
            total += tokens * price / 1e6
        return total

    @property
    def facts(self) -> ModelFacts:
        """What a router needs to know of this model: prices and limits, no address and no key name."""
        return ModelFacts(
            self.input_usd_per_mtok, self.output_usd_per_mtok, self.modalities, self.context_window, self.capabilities,
            self.cached_input_usd_per_mtok,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pool:
    """The candidates, in order, the judge that labels their answers (None: matching only), and one to check the judge."""

    models: tuple[PoolModel, ...]
    judge: PoolModel | None = None
    second_judge: PoolModel | None = None

    def subset(self, names: list[str]) -> Pool:
        """Return the pool with only ``names``, in their order. Raises ConfigError for a name that is not here."""
        known = {model.name: model for model in self.models}
        missing = [name for name in names if name not in known]
        if missing:
            raise ConfigError(f"pool has no model {', '.join(map(repr, missing))}; it has {', '.join(known)}")
        return Pool(tuple(known[name] for name in dict.fromkeys(names)), self.judge, self.second_judge)

    def judges_inside(self) -> list[str]:
        """Return a warning for each judge that is also a candidate: a model rates its own answers too high."""
        roles = {"judge": self.judge, "second judge": self.second_judge}
        return [
            f"the {role} {judge.model} is also the candidate {model.name}: its verdicts on itself are worth little; "
            "name a judge from outside the pool"
            for role, judge in roles.items()
            for model in self.models
            if judge is not None and judge.model == model.model
        ]

    @property
    def facts(self) -> dict[str, ModelFacts]:
        """``{model: facts}`` as stored in the router artifact."""
        return {model.name: model.facts for model in self.models}


def load_pool(path: str | Path) -> Pool:
    """Read ``pool.yaml``: ``models:`` lists :class:`PoolModel` entries, ``judge:`` and ``second_judge:`` are optional ones.

    Raises:
        ConfigError: the file is missing or not YAML, or an entry has an unknown, missing or impossible value.
    """
    with needs_extra("collect"):
        import yaml  # not for routing, which knows no pool file

    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"pool file {path} cannot be read ({error.strerror}); give one with --pool") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"pool file {path} is not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, Mapping) or not isinstance(content.get("models"), list) or not content["models"]:
        raise ConfigError(f"pool file {path} needs a non-empty list 'models:'; see pool.yaml of this project")
    unknown = set(content) - {"models", "judge", "second_judge"}
    if unknown:
        allowed = "'models', 'judge' and 'second_judge'"
        raise ConfigError(f"pool file {path} has unknown entries {sorted(map(str, unknown))}; allowed are {allowed}")
    models = tuple(_parse(entry, f"{path}, models[{i}]") for i, entry in enumerate(content["models"]))
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise ConfigError(f"pool file {path} names a model twice: {sorted({n for n in names if names.count(n) > 1})}")
    entries = {role: content.get(role) for role in ("judge", "second_judge")}
    judges = {role: None if entry is None else _parse(entry, f"{path}, {role}") for role, entry in entries.items()}
    if judges["second_judge"] is not None and judges["judge"] is None:
        raise ConfigError(f"pool file {path} has a second_judge but no judge; call it judge")
    return Pool(models, **judges)


def _parse(entry: Any, where: str) -> PoolModel:
    known = [f.name for f in fields(PoolModel)]
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise ConfigError(f"{where} needs a 'name'")
    unknown = sorted(map(str, set(entry) - set(known)))
    if unknown:
        raise ConfigError(f"{where} ({entry['name']}) has unknown keys {unknown}; allowed are {known}")
    values = {key: value for key, value in entry.items() if value is not None}  # ``key: null`` means the default
    values["model"] = values.get("model") or entry["name"]
    modalities = values.setdefault("modalities", ["text"])
    if not isinstance(modalities, list) or not modalities or any(item not in MODALITIES for item in modalities):
        raise ConfigError(f"{where} ({entry['name']}): modalities must be a list of {list(MODALITIES)}, got {modalities!r}")
    values["modalities"] = tuple(modalities)
    if "capabilities" in values:
        values["capabilities"] = _parse_capabilities(values["capabilities"], f"{where} ({entry['name']})")
    _check_numbers(values, f"{where} ({entry['name']})")
    return PoolModel(**values)


def _parse_capabilities(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or any(item not in CAPABILITIES for item in value):
        raise ConfigError(f"{where}: capabilities must be a list of {list(CAPABILITIES)}, got {value!r}")
    return tuple(dict.fromkeys(value))


def _check_numbers(values: Mapping[str, Any], where: str) -> None:
    for name in ("input_usd_per_mtok", "output_usd_per_mtok", "cached_input_usd_per_mtok", "temperature"):
        value = values.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigError(f"{where}: {name} must be a number from 0, got {value!r}")
    for name in ("requests_per_minute", "tokens_per_minute", "timeout_s"):
        value = values.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ConfigError(f"{where}: {name} must be a number above 0, got {value!r}")
    for name in ("context_window", "max_tokens", "concurrency"):
        value = values.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{where}: {name} must be a whole number from 1, got {value!r}")
    for name in ("base_url", "api_key_env", "system_prompt", "model", "api_version"):
        value = values.get(name, "")
        if not isinstance(value, str):
            raise ConfigError(f"{where}: {name} must be a string, got {value!r}")
    _check_parameters(values.get("parameters", {}), where)


def _check_parameters(value: Any, where: str) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{where}: parameters must be a mapping such as {{top_p: 0.9}}, got {value!r}")
    reserved = sorted(set(value) & set(RESERVED_PARAMETERS))
    if reserved:
        raise ConfigError(f"{where}: parameters may not set {', '.join(reserved)}; Stage 1 sets them itself")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{where}: parameters cannot be sent as JSON ({error}); use plain numbers, strings and lists"
        ) from error
