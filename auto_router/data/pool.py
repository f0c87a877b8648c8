"""The candidate pool: which models exist, where they answer, what they cost and what they can take (``pool.yaml``).

Any endpoint that speaks OpenAI's chat completions fits: OpenAI, Azure OpenAI, NVIDIA Build, a NIM, vLLM, Ollama, a gateway.
Keys never stand in this file: ``api_key_env`` names the environment variable that holds one, ``api_key_command`` a command that
prints one.
"""

from __future__ import annotations

import json
import math
import re
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


UNSTATED_OUTPUT_TOKENS = 32_768  # the most of an answer that nobody limits: no recorded reasoning was longer
# The dearest rule known: gpt-4o-mini takes 2,833 + 5,667 tokens for each of at most 8 tiles.
UNSTATED_IMAGE_TOKENS = 48_169


@dataclass(frozen=True, slots=True)
class PoolModel:
    """One model behind an OpenAI-compatible endpoint. Prices are USD per million tokens; None = unknown.

    ``base_url`` is what precedes ``/chat/completions``; with ``api_version`` it is an Azure resource
    (``https://NAME.openai.azure.com``) and ``model`` the deployment. ``same_as`` lists addresses under which the same server
    answered before, and names that logs give the model: what is recorded under these counts. ``parameters`` goes into the
    request as it is (``top_p``, ``seed``, …); a null there takes a default out, such as ``max_tokens: null`` for models that
    want ``max_completion_tokens``. The same model at two ``reasoning_effort`` is two candidates. ``max_output_tokens`` and
    ``image_tokens`` are the most that an answer and an image are billed at, whatever the request allows. Images are scaled
    down to ``max_image_side`` pixels and ``max_image_bytes``.
    ``headers`` are sent with every request; a value that is a variable's name stands for what the variable holds.
    ``api_key_command`` prints a token. With ``stream`` the answer is asked for as a stream of events. At most ``concurrency``
    requests are on the wire at once; rates are per minute, None = unlimited; ``timeout_s`` is for one whole answer.
    With ``batch`` Stage 1 asks through the provider's Batch API, which takes ``batch_discount`` (a share) off the price, and
    looks every ``batch_poll_s`` seconds whether it is done.
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
    max_tokens: int = 1024
    temperature: float | None = None
    system_prompt: str | None = None
    concurrency: int = 8
    api_version: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout_s: float = 120.0
    cached_input_usd_per_mtok: float | None = None
    max_output_tokens: int | None = None
    image_tokens: int | None = None
    reasoning_effort: str | None = None
    max_image_side: int | None = None
    max_image_bytes: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    api_key_command: str | None = None
    stream: bool = False
    same_as: tuple[str, ...] = ()
    batch: bool = False
    batch_discount: float = 0.5
    batch_poll_s: float = 30.0

    @property
    def address(self) -> str:
        """Where the model answers: one half of what a recorded answer is known by; the request is the other."""
        return self.base_url.rstrip("/")

    @property
    def output_limit(self) -> int | None:
        """The most tokens that the request allows an answer; None where it sets no limit."""
        asked = {"max_tokens": self.max_tokens} | dict(self.parameters)
        limits = [asked.get(name) for name in ("max_tokens", "max_completion_tokens")]
        return min((n for n in limits if isinstance(n, int) and not isinstance(n, bool)), default=None)

    @property
    def longest_answer(self) -> int:
        """The most tokens an answer can have: as the request says, else as the pool says, else ``UNSTATED_OUTPUT_TOKENS``."""
        unlimited = min(UNSTATED_OUTPUT_TOKENS, self.context_window or UNSTATED_OUTPUT_TOKENS)
        return self.output_limit or self.max_output_tokens or unlimited

    def cost(
        self,
        prompt_tokens: int | None,
        completion_tokens: int | None,
        cached_tokens: int | None = None,
        billed_usd: float | None = None,
    ) -> float | None:
        """Return the price of one answer in USD; None where a price or a count is unknown.

        ``cached_tokens`` are part of the prompt's, and cost ``cached_input_usd_per_mtok`` where that is stated. What the
        endpoint says it billed comes first.
        """
        if billed_usd is not None:
            return billed_usd
        if prompt_tokens is None or completion_tokens is None or min(prompt_tokens, completion_tokens) < 0:
            return None  # some servers count -1 for "unknown"
        if self.input_usd_per_mtok is None or self.output_usd_per_mtok is None:
            return None
        cached = min(cached_tokens or 0, prompt_tokens) if self.cached_input_usd_per_mtok is not None else 0
        usd = (prompt_tokens - cached) * self.input_usd_per_mtok + completion_tokens * self.output_usd_per_mtok
        return (usd + cached * (self.cached_input_usd_per_mtok or 0.0)) / 1e6

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
    unstated: frozenset[str] = frozenset()
    """Models whose modalities the file does not state: Stage 1 sends them text alone, Stage 3 believes their labels."""

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
    except yaml.MarkedYAMLError as error:  # its own words would show the line, which may hold a key by mistake
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise ConfigError(f"pool file {path}{line} is not YAML ({error.problem})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"pool file {path} is not YAML ({type(error).__name__}); save it as UTF-8 text") from None
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
    unstated = frozenset(
        entry["name"] for entry in content["models"]
        if entry.get("modalities") is None and "image" not in (entry.get("capabilities") or ())
    )  # fmt: skip
    return Pool(models, **judges, unstated=unstated)


def _parse(entry: Any, where: str) -> PoolModel:
    known = [f.name for f in fields(PoolModel)]
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise ConfigError(f"{where} needs a 'name'")
    unknown = sorted(map(str, set(entry) - set(known)))
    if unknown:
        named = ", ".join(map(show_value, unknown))
        raise ConfigError(f"{where} ({entry['name']}) has unknown keys [{named}]; allowed are {known}")
    values = {key: value for key, value in entry.items() if value is not None}  # ``key: null`` means the default
    values["model"] = values.get("model") or entry["name"]
    modalities = values.setdefault("modalities", ["text"])
    if not isinstance(modalities, list) or not modalities or any(item not in MODALITIES for item in modalities):
        raise ConfigError(
            f"{where} ({entry['name']}): modalities must be a list of {list(MODALITIES)}, got {show_value(modalities)}"
        )
    values["modalities"] = tuple(modalities)
    same_as = values.get("same_as", [])
    values["same_as"] = (
        tuple([same_as] if isinstance(same_as, str) else same_as) if isinstance(same_as, str | list) else same_as
    )
    if "capabilities" in values:
        values["capabilities"] = _parse_capabilities(values["capabilities"], f"{where} ({entry['name']})")
    _check_numbers(values, f"{where} ({entry['name']})")
    _check_texts(values, f"{where} ({entry['name']})")
    values["same_as"] = tuple(address.rstrip("/") for address in values["same_as"])
    return PoolModel(**values)


def _parse_capabilities(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or any(item not in CAPABILITIES for item in value):
        raise ConfigError(f"{where}: capabilities must be a list of {list(CAPABILITIES)}, got {value!r}")
    return tuple(dict.fromkeys(value))


def _check_numbers(values: Mapping[str, Any], where: str) -> None:
    for name in ("input_usd_per_mtok", "output_usd_per_mtok", "cached_input_usd_per_mtok", "temperature"):
        value = values.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigError(f"{where}: {name} must be a number from 0, got {show_value(value)}")
    discount = values.get("batch_discount", 0)
    if isinstance(discount, bool) or not isinstance(discount, int | float) or not 0 <= discount < 1:
        raise ConfigError(
            f"{where}: batch_discount must be a share from 0 to below 1 (0.5 is half price), got {show_value(discount)}"
        )
    for name in ("requests_per_minute", "tokens_per_minute", "timeout_s", "batch_poll_s"):
        value = values.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ConfigError(f"{where}: {name} must be a number above 0, got {show_value(value)}")
    whole = ("context_window", "max_tokens", "concurrency", "max_output_tokens", "image_tokens", "max_image_side")
    for name in (*whole, "max_image_bytes"):
        value = values.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{where}: {name} must be a whole number from 1, got {show_value(value)}")


def _check_texts(values: Mapping[str, Any], where: str) -> None:
    names = ("base_url", "api_key_env", "system_prompt", "model", "api_version", "reasoning_effort", "api_key_command")
    for name in names:
        value = values.get(name, "")
        if not isinstance(value, str):
            raise ConfigError(f"{where}: {name} must be a string, got {show_value(value)}")
    for name in ("stream", "batch"):
        if not isinstance(values.get(name, False), bool):
            raise ConfigError(f"{where}: {name} must be true or false, got {show_value(values[name])}")
    if values.get("stream") and values.get("batch"):
        raise ConfigError(f"{where}: stream and batch are both true; a batch gives whole answers: leave stream out")
    same_as = values["same_as"]
    if not isinstance(same_as, tuple) or not all(isinstance(address, str) for address in same_as):
        raise ConfigError(f"{where}: same_as must be an address or a list of them, got {show_value(same_as)}")
    if values.get("api_key_env") and values.get("api_key_command"):
        raise ConfigError(f"{where}: api_key_env and api_key_command are both given; keep one")
    _check_headers(values.get("headers", {}), where)
    _check_parameters(values.get("parameters", {}), where)


def _check_headers(headers: Any, where: str) -> None:
    if not isinstance(headers, Mapping) or not all(isinstance(part, str) for pair in headers.items() for part in pair):
        raise ConfigError(f"{where}: headers must be a mapping such as {{Ocp-Apim-Subscription-Key: APIM_KEY}}, of strings")
    for name, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not (value.isascii() and value.isprintable()):
            raise ConfigError(f"{where}: headers holds a name or a value that no header can have; see {show_value(name)}")
        if looks_like_key(value) and not is_variable_name(value):
            raise ConfigError(
                f"{where}: the value of header {name} looks like a key; put it into an environment variable and write the "
                "variable's name here"
            )


def _check_parameters(value: Any, where: str) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{where}: parameters must be a mapping such as {{top_p: 0.9}}, got {show_value(value)}")
    reserved = sorted(set(value) & set(RESERVED_PARAMETERS))
    if reserved:
        raise ConfigError(f"{where}: parameters may not set {', '.join(reserved)}; Stage 1 sets them itself")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{where}: parameters cannot be sent as JSON ({error}); use plain numbers, strings and lists"
        ) from error


_VARIABLE = re.compile(r"\$?[A-Z][A-Z0-9_]*")
_PREFIXED = re.compile(r"(?:sk|pk|rk|nvapi|gsk|xai|hf|ghp|github_pat|key|AIza|AKIA|eyJ)[-_A-Za-z0-9.]{12,}")
_UNLIKE_A_NAME = re.compile(r"[^\w$]")


def is_variable_name(text: str) -> bool:
    """Whether a header's value is the name of an environment variable: capitals, as ``APIM_KEY`` or ``$APIM_KEY``."""
    return _VARIABLE.fullmatch(text) is not None and (text.startswith("$") or len(text) < 64)


def looks_like_key(text: str) -> bool:
    """Whether a text may be a secret that was pasted where a name belongs."""
    if _PREFIXED.search(text) or re.fullmatch(r"[0-9a-fA-F]{24,}", text):
        return True
    mixed = re.search(r"[0-9]", text) and re.search(r"[A-Za-z]", text)
    return bool(mixed) and max(map(len, re.split(r"[ ,;:/._-]", text)), default=0) >= 20


def show_name(text: str) -> str:
    """Return a variable's name as an error may print it: what may be a key is not shown."""
    unusual = not text.isupper() and (len(text) >= 24 or any(c.isdigit() for c in text))
    if looks_like_key(text) or _UNLIKE_A_NAME.search(text) or unusual:
        return f"(a text of {len(text)} characters that looks like a key and is not shown: name the variable that holds it)"
    return text


def show_value(value: Any) -> str:
    """Return a wrong value for an error, unless it may be a secret."""
    text = repr(value)
    return f"a {type(value).__name__} that is not shown, since it may hold a key" if looks_like_key(text) else text[:100]
