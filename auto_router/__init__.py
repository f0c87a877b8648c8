"""Auto-Router: what the four stage scripts are made of.

Imports run one way: ``arrays, errors, files`` <- ``data`` <- ``collect | encode | learn | decide`` (these four do not know each
other) <- ``artifacts`` <- ``assess | route`` <- ``train | edit | serve``. The stage scripts beside this package import it; it
never imports them.
"""

import sys

__version__ = "0.1.0"

if sys.version_info < (3, 11):  # noqa: UP036  what follows would fail with a message about something else
    found = ".".join(map(str, sys.version_info[:3]))
    raise ImportError(f"auto-router needs Python 3.11 or newer; this is {found}. Make its environment with a newer python3")
