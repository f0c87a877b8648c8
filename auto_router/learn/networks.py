"""The kinds of networks an artifact may hold, by name: how each is described and built again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auto_router.errors import ConfigError
from auto_router.learn.network import NetworkConfig, RouterNetwork
from auto_router.learn.stack import StackConfig, StackNetwork

Network = RouterNetwork | StackNetwork

HEADS = ("stack", "mlp")


def describe(network: Network) -> dict[str, Any]:
    """Return the plain values from which :func:`build` makes an empty network of the same shape."""
    return {"kind": "mlp" if isinstance(network, RouterNetwork) else "stack"} | network.config.to_plain()


def build(description: Mapping[str, Any]) -> Network:
    """Build an empty network in eval mode. Raises ConfigError where the description is not one of :func:`describe`."""
    values = {name: value for name, value in description.items() if name != "kind"}
    kind = description.get("kind")
    if kind == "mlp":
        return RouterNetwork(NetworkConfig.from_plain(values)).eval()
    if kind == "stack":
        return StackNetwork(StackConfig.from_plain(values)).eval()
    raise ConfigError(f"network kind {kind!r} is unknown; this version knows {', '.join(HEADS)}")
