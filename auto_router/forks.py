"""What a child must begin anew after a fork: threads do not come along, and a lock that one of them held stays locked."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any

_OWNERS: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()


def after_fork(owner: Any, renew: Callable[[Any], None]) -> None:
    """Call ``renew(owner)`` in every child that is forked from this process, as long as ``owner`` lives."""
    _register()
    _OWNERS[owner] = renew


@cache
def _register() -> None:
    if hasattr(os, "register_at_fork"):  # Windows has no fork
        os.register_at_fork(after_in_child=_renew)


def _renew() -> None:
    for owner, renew in list(_OWNERS.items()):
        renew(owner)
