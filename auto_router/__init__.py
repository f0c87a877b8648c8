"""Auto-Router: what the four stage scripts are made of.

Imports run one way: ``arrays, errors, files`` <- ``data`` <- ``collect | encode | learn | decide`` (these four do not know each
other) <- ``artifacts`` <- ``assess | route`` <- ``train | edit | serve | client`` <- ``doctor | cli``. The stage scripts beside
this package import it; only ``cli`` opens them, by name.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auto_router.client import AsyncClient as AsyncClient
    from auto_router.client import Client as Client
    from auto_router.decide.rule import Decision as Decision
    from auto_router.encode.encoder import EmbeddingGenerator as EmbeddingGenerator
    from auto_router.route.router import ModelRouter as ModelRouter

__version__ = "0.2.0"

if sys.version_info < (3, 11):  # noqa: UP036  what follows would fail with a message about something else
    found = ".".join(map(str, sys.version_info[:3]))
    raise ImportError(f"auto-router needs Python 3.11 or newer; this is {found}. Make its environment with a newer python3")

_PUBLIC = {
    "ModelRouter": "auto_router.route.router",
    "Decision": "auto_router.decide.rule",
    "EmbeddingGenerator": "auto_router.encode.encoder",
    "Client": "auto_router.client",
    "AsyncClient": "auto_router.client",
}


def __getattr__(name: str) -> Any:
    """Import what ``from auto_router import ModelRouter`` names where it is named: importing the package does nothing."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
