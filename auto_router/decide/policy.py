"""The settings of a router, the one list of them for the library and every server; and the policy that they come to."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from auto_router.arrays import Bools, Floats
from auto_router.data.dataset import Prediction
from auto_router.decide.eligibility import index_of, per_model
from auto_router.decide.operating_points import COST, LATENCY, PROMISES, OperatingPoint, default_point
from auto_router.decide.rule import Choices, choose
from auto_router.errors import ConfigError

PREFIX = "AUTO_ROUTER_"
DEFAULT_PATH = "router_artifacts/nn_router.pth"
TEXTS = (
    "router_path", "operating_point", "fallback_model", "session_policy", "session_store", "feedback_file", "shadow_pool",
)  # fmt: skip
SHARES = {"explore_share": "from 0 to 0.5", "shadow_share": "from 0 to 1", "shadow_usd_per_day": "of USD above 0"}
"""Settings that the environment may give: text, and numbers with what they may be."""
SESSION_POLICIES = (ADAPTIVE, STICKY, NONE) = ("adaptive", "sticky", "none")


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """The settings of a router, in the library and in every server: the one list of them.

    Raises:
        ConfigError: a value is impossible by itself. Whether models and points exist is found when the artifact is open.
    """

    router_path: str = DEFAULT_PATH
    """The artifact that ``nn_router.py`` wrote."""
    model_thresholds: Mapping[str, float] = field(default_factory=dict)
    """``{model: 0…1}``; models left out always qualify."""
    model_costs: Mapping[str, float] = field(default_factory=dict)
    """``{model: cost}`` in any one unit. Without thresholds the artifact's ``balanced`` operating point says what a right
    answer may cost; where it has none, costs are only reported."""
    device: str | None = None
    """``cuda``, ``cuda:0``, … or ``cpu``, for ``--head mlp`` (the default network always computes on the CPU); None: CUDA where
    there is a GPU. A missing GPU falls back to CPU with a warning."""
    verbose: bool = False
    """Print every decision."""
    fallback_model: str | None = None
    """Chosen where no model qualifies and it may take the input, and by servers where nothing can be decided."""
    operating_point: str | None = None
    """One that the artifact holds: ``accuracy``, ``quality``, ``balanced``, ``economy`` or ``latency``. Without it, thresholds
    and costs: ``quality`` where it saves cost, else ``accuracy``. Thresholds may be given beside it."""
    guard_unfamiliar: bool = True
    """False: prompts unlike everything in training are decided like any other."""
    encoder: str | None = None
    """The encoder's back end; None: the one that the artifact names."""
    clip_server: str | None = None
    """``HOST:PORT`` for a router trained on a clip-server's embeddings."""
    encoder_model: str | None = None
    """Its model or folder, where that is elsewhere now; None: ``AUTO_ROUTER_ENCODER_MODEL``, else the artifact's."""
    encoder_url: str | None = None
    """The address of an encoder over HTTP; None: ``AUTO_ROUTER_ENCODER_URL``, else the artifact's."""
    encoder_key_env: str | None = None
    """The variable that holds its key; None: ``AUTO_ROUTER_ENCODER_KEY_ENV``, else the artifact's."""
    encoder_timeout_s: float | None = None
    """How long one request to it may take; None: ``AUTO_ROUTER_ENCODER_TIMEOUT``, else four fifths of ``timeout_s``, which it
    never exceeds. A router asks once; Stage 2 asks again."""
    threads: int | None = None
    """Cores that one call of the embedded encoder may use; None leaves the choice to it."""
    cache_bytes: int = 64 * 2**20
    """How much memory embeddings of recent prompts may take; 0 for none."""
    drift_window: int = 1000
    """Decisions that ``drift_report`` looks back on."""
    session_policy: str = "adaptive"
    """When a conversation changes its model: ``adaptive`` (where another is worth more than the price of switching), ``sticky``
    (where its model may not take the request) or ``none`` (every turn is decided by itself)."""
    session_seconds: float = 3600.0
    """How long a conversation is remembered after its last turn."""
    max_sessions: int = 20_000
    """How many are remembered in this process, at about 1 kB each."""
    session_store: str | None = None
    """``redis://HOST:PORT/DATABASE`` where several workers share them (extra ``redis``); None: this process."""
    image_hosts: Sequence[str] = ()
    """Servers: hosts from which images given by URL are fetched; none are from anywhere else."""
    timeout_s: float = 10.0
    """Servers: how long one decision may take before the fallback is chosen instead."""
    log_prompts: bool = False
    """Servers: put the beginning of every prompt into the log."""
    feedback_file: str | None = None
    """Servers: where outcomes told to ``POST /v1/feedback`` are kept for ``nn_router.py --feedback``; None: nowhere. Decisions
    wait beside it, in ``FILE.decisions``: the numbers that the network saw, no prompts."""
    explore_share: float = 0.0
    """Servers that keep feedback: share of the decisions, 0 to 0.5, that go to another model of the ranking, drawn at random.
    What nobody asks has no outcome: without it, a model that training thinks too little of stays unknown."""
    shadow_share: float = 0.0
    """LiteLLM's proxy with feedback: share of the answers, 0 to 1, after which a second model is asked the same and
    the judge of ``shadow_pool`` compares, for outcomes that nobody else tells. Prompts then go to both."""
    shadow_usd_per_day: float = 1.0
    """What that may cost, USD a day (UTC), second models and judge together."""
    shadow_pool: str | None = None
    """The pool file that says where the models and the judge answer, and what they cost."""
    feedback_seconds: float = 7 * 86_400.0
    """Servers: how long a decision waits for its outcome."""

    def __post_init__(self) -> None:
        if not isinstance(self.router_path, str | os.PathLike):
            raise ConfigError(f"router_path must be the path of an artifact, got {self.router_path!r}")
        object.__setattr__(self, "router_path", os.fspath(self.router_path))
        if self.device is not None and not re.fullmatch(r"(cpu|cuda|mps|xpu)(:\d+)?", str(self.device)):
            raise ConfigError(f"device {self.device!r} is unknown; use 'cpu', 'cuda', 'cuda:0', 'mps' or 'xpu'")
        for name in ("timeout_s", "encoder_timeout_s", "session_seconds", "feedback_seconds"):
            seconds = getattr(self, name)
            if not (seconds is None and name == "encoder_timeout_s") and not seconds > 0:
                raise ConfigError(f"{name} must be a number of seconds above 0, got {seconds!r}")
        if self.session_policy not in SESSION_POLICIES:
            raise ConfigError(f"session_policy must be one of {', '.join(SESSION_POLICIES)}, got {self.session_policy!r}")
        if isinstance(self.image_hosts, str):
            raise ConfigError(f"image_hosts must be a list of host names, got {self.image_hosts!r}")
        object.__setattr__(self, "image_hosts", tuple(map(str.lower, self.image_hosts)))
        for name in ("cache_bytes", "drift_window", "max_sessions"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be a whole number from 0, got {getattr(self, name)!r}")
        if not 0 <= self.explore_share <= 0.5:
            raise ConfigError(f"explore_share must be a number from 0 to 0.5, got {self.explore_share!r}")
        if self.explore_share and self.feedback_file is None:
            raise ConfigError("explore_share asks other models for their outcomes: set feedback_file, where these are kept")
        if not 0 <= self.shadow_share <= 1:
            raise ConfigError(f"shadow_share must be a number from 0 to 1, got {self.shadow_share!r}")
        if not 0 < self.shadow_usd_per_day < math.inf:
            raise ConfigError(f"shadow_usd_per_day must be a number of USD above 0, got {self.shadow_usd_per_day!r}")
        if self.shadow_share and None in (self.feedback_file, self.shadow_pool):
            raise ConfigError(
                "shadow_share compares models for their outcomes: set feedback_file, where these are kept, and "
                "shadow_pool, the pool file that names the judge"
            )
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads must be at least 1, got {self.threads}")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RouterSettings:
        """Return the settings that ``values`` name; None means the default. Raises ConfigError for an unknown name."""
        known = [part.name for part in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"router settings have unknown names {unknown}; allowed are {sorted(known)}")
        return cls(**{name: value for name, value in values.items() if value is not None})

    @classmethod
    def from_environment(cls, values: Mapping[str, Any]) -> RouterSettings:
        """Return the settings that ``values`` name; what is left out comes from the environment, else is the default.

        Environment: ``AUTO_ROUTER_PATH``, ``AUTO_ROUTER_OPERATING_POINT``, ``AUTO_ROUTER_FALLBACK_MODEL``,
        ``AUTO_ROUTER_THREADS``, ``AUTO_ROUTER_CACHE_BYTES``, ``AUTO_ROUTER_SESSION_POLICY``, ``AUTO_ROUTER_SESSION_STORE``,
        ``AUTO_ROUTER_FEEDBACK_FILE``, ``AUTO_ROUTER_EXPLORE_SHARE``, ``AUTO_ROUTER_SHADOW_SHARE``,
        ``AUTO_ROUTER_SHADOW_USD_PER_DAY``, ``AUTO_ROUTER_SHADOW_POOL``.
        """
        found: dict[str, Any] = {}
        for name in TEXTS:
            found[name] = os.environ.get(_variable(name)) or None
        for name in ("threads", "cache_bytes"):
            number = os.environ.get(_variable(name), "")
            if number and not number.isdecimal():
                raise ConfigError(f"{_variable(name)} must be a whole number, got {number!r}")
            found[name] = int(number) if number else None
        for name, allowed in SHARES.items():
            given = os.environ.get(_variable(name)) or None
            try:
                found[name] = given if given is None else float(given)
            except ValueError as error:
                raise ConfigError(f"{_variable(name)} must be a number {allowed}, got {given!r}") from error
        return cls.of(found | {name: value for name, value in values.items() if value is not None})

    def to_environment(self) -> dict[str, str]:
        """Return the variables from which :meth:`from_environment` reads the same texts and shares, in another process.

        None and 0, too: such a process inherits what was set before.
        """
        given = {name: getattr(self, name) for name in (*TEXTS, *SHARES)}
        return {_variable(name): "" if value is None else str(value) for name, value in given.items()}

    @property
    def known_models(self) -> tuple[str, ...]:
        """The models that these settings name, for the time when no artifact says more; the fallback first."""
        fallback = [self.fallback_model] if self.fallback_model else []
        return tuple(dict.fromkeys([*fallback, *self.model_costs, *self.model_thresholds]))


def _variable(name: str) -> str:
    return PREFIX + name.upper().removeprefix("ROUTER_")


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that the rule needs beside the prompt."""

    thresholds: Floats | None = None
    costs: Floats | None = None
    """``[M]`` as the caller gave them."""
    fallback: int | None = None
    operating_point: str | None = None
    """Name of the fitted point in force; None where the caller's thresholds and costs decide alone."""
    penalties: Floats | None = None
    default: int | None = None
    """The guarded default: the best single model of training, which novel rows go to."""
    pricing: Callable[[Floats], Floats] | None = None
    """From expected costs in the recorded unit to penalties; None where no point weighs them, or the caller's do."""
    guard: bool = True

    def with_costs(self, expected: Floats | None) -> Policy:
        """Return the policy for rows whose answers are expected to cost ``[N, M]`` (one row: ``[M]``), in the recorded unit."""
        if expected is None or self.pricing is None:
            return self
        return replace(self, penalties=self.pricing(expected))

    def choose(self, prediction: Prediction, eligible: Bools | None = None) -> Choices:
        """Decide every row of ``prediction``. Raises ConfigError where a row has no eligible model."""
        priced = self.with_costs(prediction.expected_costs)
        return choose(
            prediction.probabilities, self.thresholds, self.costs, eligible, self.fallback, priced.penalties,
            prediction.novel if self.guard else None, self.default,
        )  # fmt: skip


def resolve_policy(names: Sequence[str], points: Mapping[str, OperatingPoint], settings: RouterSettings) -> Policy:
    """Return the policy that these settings come to.

    Named, an operating point is in force. Else thresholds decide where there are any; else costs bring ``balanced``, and
    nothing at all brings the :func:`default_point`, where the artifact has them.

    Raises:
        ConfigError: a model or an operating point is unknown, or a value is impossible.
    """
    thresholds = per_model(names, settings.model_thresholds, "model_thresholds")
    costs = per_model(names, settings.model_costs, "model_costs")
    fallback = None if settings.fallback_model is None else index_of(names, [settings.fallback_model], "fallback_model")[0]
    name = settings.operating_point
    if name is not None:
        check_point(name, points)
    if name is None and thresholds is None:
        name = _choose_point(points, costs)
    # Costs alone must not decide: the cheapest model would answer everything.
    penalties: Floats | None = np.zeros(len(names)) if thresholds is None and costs is not None else None
    pricing = None
    if name is not None:
        by_cost = points[name].weighs == COST
        penalties = points[name].penalties(names, costs if by_cost else None)
        pricing = points[name].pricing(names) if costs is None and by_cost else None
    best = next((point.default for point in points.values()), None)
    default = names.index(best) if best in names else None
    return Policy(thresholds, costs, fallback, name, penalties, default, pricing, settings.guard_unfamiliar)


def check_point(name: str, points: Mapping[str, OperatingPoint]) -> None:
    """Raise ConfigError where an artifact with these operating points has none of this name; the error says what it takes."""
    if name in points:
        return
    has = f"it has {', '.join(points)}; choose one of these" if points else "it has none: leave it out"
    if name == LATENCY:
        has += ", or train again on records with model_latencies of every model (Stage 1 writes them)"
    elif name in PROMISES:
        has += ", or train again on records with model_costs of every model, or with a pool file that has prices (--pool)"
    raise ConfigError(f"operating_point {name!r} is not in this artifact; {has}")


def _choose_point(points: Mapping[str, OperatingPoint], costs: Floats | None) -> str | None:
    name = "balanced" if costs is not None and "balanced" in points else default_point(points)
    if costs is not None and name != "balanced":
        warnings.warn(
            "model_costs without model_thresholds would always choose the cheapest model, and this artifact has no "
            "'balanced' operating point: costs are reported, the highest probability decides. Give model_thresholds, or "
            "train with recorded costs or prices (nn_router.py --pool).",
            stacklevel=4,
        )
    return name


class Policies:
    """The policy in force, and those of other operating points beside the same thresholds, costs and fallback.

    Takes the arguments of :func:`resolve_policy`, and raises what it raises.
    """

    def __init__(self, names: Sequence[str], points: Mapping[str, OperatingPoint], settings: RouterSettings) -> None:
        self._names, self._points, self._settings = names, points, settings
        self._known: dict[str | None, Policy] = {None: resolve_policy(names, points, settings)}

    def at(self, point: str | None, thresholds: Sequence[tuple[str, float]] | None = None) -> Policy:
        """Return the policy at an operating point; None: the one in force. ``thresholds`` stand in place of the settings'.

        Raises:
            ConfigError: the point or a model is unknown.
        """
        if thresholds is not None:  # a client's own: not kept
            settings = replace(self._settings, operating_point=point or self._settings.operating_point)
            return resolve_policy(self._names, self._points, replace(settings, model_thresholds=dict(thresholds)))
        if point not in self._known:
            self._known[point] = resolve_policy(self._names, self._points, replace(self._settings, operating_point=point))
        return self._known[point]


def choose_each(policies: Sequence[Policy], prediction: Prediction, eligible: Bools) -> Choices:
    """Decide every row under its own policy, ``policies[i]`` for row i; the rows of one policy are decided at once."""
    distinct = {id(policy): policy for policy in policies}
    if len(distinct) == 1:
        return policies[0].choose(prediction, eligible)
    ranking, qualified = np.empty(eligible.shape, dtype=np.int64), np.empty(eligible.shape, dtype=bool)
    reasons = [""] * len(policies)
    for number, policy in distinct.items():
        rows = [row for row, given in enumerate(policies) if id(given) == number]
        part = policy.choose(prediction.take(rows), eligible[rows])
        ranking[rows], qualified[rows] = part.ranking, part.qualified
        for row, reason in zip(rows, part.reasons, strict=True):
            reasons[row] = reason
    return Choices(ranking, qualified, eligible, reasons)
