"""Auto-Router: route every prompt to the cheapest model that will answer it right.

The checkout's folder as a package; in the wheel it is ``auto_router.stages``. Importing it does nothing.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "Decision": "auto_router.decide.rule",
    "EmbeddingGenerator": "auto_router.encode.encoder",
    "ModelRouter": "auto_router.route.router",
    "RouterNetwork": "auto_router.learn.mlp",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
