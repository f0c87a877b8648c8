"""This package's log lines in a server: for people, or as JSON lines with ``AUTO_ROUTER_LOG_FORMAT=json``.

A vendor's error may repeat the prompt, and LiteLLM logs errors whole: :func:`keep_prompts_out` cuts them at the error's name.
A decision's line has ``id``, ``model``, ``reason``, ``p`` and ``ms``; a prompt stands in it only with ``log_prompts``.
"""

from __future__ import annotations

import json
import logging
import os
import re
from datetime import UTC, datetime

from auto_router.errors import ConfigError
from auto_router.route.drift import finite

FORMAT_VARIABLE = "AUTO_ROUTER_LOG_FORMAT"
LOG_FORMATS = ("text", "json")
FIELDS_OF = "auto_router"
"""The attribute of a log record that holds what its line says, as values."""


PROXY_LOGGERS = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")
MAX_LINE = 300  # characters of a line that names no error
_ERROR_NAME = re.compile(r"\b(?:litellm\.)?[A-Z]\w*(?:Error|Exception)\b")


class _ErrorNames(logging.Filter):
    """Keeps of a warning or an error what names it; all of it where a logger is to tell everything (``LITELLM_LOG=DEBUG``)."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING and not logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            text = record.getMessage()
            found = _ERROR_NAME.search(text)
            kept = text[: found.end()] if found else text.split("\n", 1)[0]
            record.msg, record.args = kept[:MAX_LINE], ()
            record.exc_info = record.exc_text = record.stack_info = None
        return True


def keep_prompts_out() -> None:
    """Keep what errors repeat of prompts out of the log of a LiteLLM proxy in this process."""
    for name in PROXY_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(found, _ErrorNames) for found in logger.filters):
            logger.addFilter(_ErrorNames())


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, and the values of the line."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: finite(value) for name, value in getattr(record, FIELDS_OF, {}).items()},
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str)


def set_up_log() -> None:
    """Let this package's log lines reach stderr: as JSON where that is asked for, else where its server has no logging.

    Raises:
        ConfigError: the format is unknown.
    """
    wanted, logger = os.environ.get(FORMAT_VARIABLE) or "text", logging.getLogger("auto_router")
    if wanted not in LOG_FORMATS:
        raise ConfigError(f"{FORMAT_VARIABLE} must be one of {', '.join(LOG_FORMATS)}, got {wanted!r}")
    if any(isinstance(handler.formatter, JsonLines) for handler in logger.handlers):
        return
    if wanted == "text" and logger.hasHandlers():
        return
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if wanted == "json" else plain)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = wanted == "text"  # else the host would print each line once more
