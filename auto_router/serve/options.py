"""What a serving router is opened with; every server of this package takes the same names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from auto_router.errors import ConfigError

PREFIX = "AUTO_ROUTER_"


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of a serving router. The first group is that of :class:`ModelRouter`.

    ``encoder`` is a back end's name (None: the one the artifact names). ``timeout_s`` is how long one decision may take before
    the fallback is chosen instead. ``log_prompts`` puts the beginning of every prompt into the log.
    """

    router_path: str = "router_artifacts/nn_router.pth"
    model_thresholds: Mapping[str, float] = field(default_factory=dict)
    model_costs: Mapping[str, float] = field(default_factory=dict)
    operating_point: str | None = None
    fallback_model: str | None = None

    encoder: str | None = None
    clip_server: str | None = None
    threads: int | None = None
    cache_bytes: int = 64 * 2**20
    timeout_s: float = 10.0
    log_prompts: bool = False

    def __post_init__(self) -> None:
        if not self.timeout_s > 0:
            raise ConfigError(f"timeout_s must be a number of seconds above 0, got {self.timeout_s!r}")

    @property
    def known_models(self) -> tuple[str, ...]:
        """The models that these settings name, for the time when no artifact says more; the fallback first."""
        named = [*([self.fallback_model] if self.fallback_model else []), *self.model_costs, *self.model_thresholds]
        return tuple(dict.fromkeys(named))


def options_from(values: Mapping[str, Any]) -> Options:
    """Return the options that ``values`` name; what is left out comes from the environment, else is the default.

    Environment: ``AUTO_ROUTER_PATH``, ``AUTO_ROUTER_OPERATING_POINT``, ``AUTO_ROUTER_FALLBACK_MODEL``,
    ``AUTO_ROUTER_THREADS``, ``AUTO_ROUTER_CACHE_BYTES``.

    Raises:
        ConfigError: a name is unknown or a value is impossible.
    """
    known = set(Options.__dataclass_fields__)
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"router settings have unknown names {unknown}; allowed are {sorted(known)}")
    found: dict[str, Any] = {}
    for name in ("router_path", "operating_point", "fallback_model"):
        given = os.environ.get(PREFIX + name.upper().removeprefix("ROUTER_"))
        if given:
            found[name] = given
    for name in ("threads", "cache_bytes"):
        number = os.environ.get(PREFIX + name.upper(), "")
        if number:
            if not number.isdecimal():
                raise ConfigError(f"{PREFIX}{name.upper()} must be a whole number, got {number!r}")
            found[name] = int(number)
    return Options(**found | {name: value for name, value in values.items() if value is not None})
