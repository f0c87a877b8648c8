"""What lets us in: keys and tokens from the environment or from a command, never from a file, and never printed."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
from collections.abc import Iterable
from html import unescape
from html.entities import codepoint2name

from auto_router.data.pool import PoolModel, is_variable_name, show_name
from auto_router.errors import ConfigError, ProviderError

GATEWAY_KEY_ENV = "AUTO_ROUTER_GATEWAY_KEY"
COMMAND_TIMEOUT_S = 60.0
MAX_SCRUBBED = 2**20  # characters
_NUMBERED = re.compile(r"\\(?:u00|x)([0-9a-fA-F]{2})")
_PERCENT = re.compile(r"%([0-9a-fA-F]{2})")
_ESCAPES = {ord("\\"): None, 0: None}
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")


class SecretScrubber:
    """Takes secrets out of words that come from outside, in whatever form they stand there.

    Found are a secret as it is, escaped for JSON any number of times (by a letter or a number), in percent signs, in HTML, in
    UTF-16, and as Python shows it. Not found is one that is packed (base64) or spelled backwards: nobody can list those.
    """

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, secrets: Iterable[str]) -> None:
        """Add secrets to those of before: one that was replaced may still be echoed."""
        new = set(secrets) - self._secrets
        if new:
            self._secrets |= new
            ordered = sorted(self._secrets, key=len, reverse=True)
            self._pattern = re.compile("|".join(_any_form(secret) for secret in ordered))

    def clean(self, text: str) -> str:
        """Return ``text`` without the secrets; nothing of it where it is too long to look through and holds one."""
        if self._pattern is None or not self._holds_one(text):
            return text
        return self._pattern.sub("[key]", text) if len(text) <= MAX_SCRUBBED else "[key]"

    def _holds_one(self, text: str) -> bool:
        """Look for the secrets in ``text`` without its escapes: that is quick, and may err on the safe side."""
        plain = _NUMBERED.sub(_character, text).translate(_ESCAPES)
        forms = (plain, *(form.translate(_ESCAPES) for form in (_PERCENT.sub(_character, plain), unescape(plain))))
        return any(secret.translate(_ESCAPES) in form for form in forms for secret in self._secrets)


def _character(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))


def _any_form(secret: str) -> str:
    """Return a pattern of a secret, each of its characters in any form that a text can hold it in."""
    first, others = secret[0], secret[1:]
    # What stands before the first character stays: so a long run of backslashes is looked at once.
    return _any_form_of(first, r"\\", "") + "".join(_any_form_of(c, r"\\{1,16}", r"(?:\\{0,16}|\0{1,3})") for c in others)


def _any_form_of(character: str, escape: str, before: str) -> str:
    code = ord(character)
    plain = r"\\{1,16}" if character == "\\" and before else re.escape(character)
    number = f"{escape}(?i:u00{code:02x}|x{code:02x})|%(?i:{code:02x})|&#(?:0{{0,4}}{code}|(?i:x)0{{0,4}}(?i:{code:x}));"
    named = f"|&{codepoint2name[code]};" if code in codepoint2name else ""
    return f"(?:{before}{plain}|{number}{named})"


class Credentials:
    """The headers of one endpoint that hold secrets. A provider's go to that provider only.

    Another address (``base_url``) gets the key in ``AUTO_ROUTER_GATEWAY_KEY``, or none. ``keyless``: nothing will be sent.

    Raises:
        ConfigError: a variable that the pool names is not set, or holds what no header can.
    """

    def __init__(self, model: PoolModel, base_url: str | None = None, keyless: bool = False) -> None:
        own = base_url is None
        self._model = model
        self._azure = model.api_version is not None and own
        self._command = model.api_key_command if own and not keyless else None
        variable = model.api_key_env if own else GATEWAY_KEY_ENV
        self._key = "" if self._command else os.environ.get(variable or "", "").strip()
        if model.api_key_env and not self._key and own and not keyless:
            raise ConfigError(
                f"model {model.name}: environment variable {show_name(model.api_key_env)} is not set; export it, change "
                "api_key_env in the pool file, or write a pool of your own models: python -m auto_router init"
            )
        _check(self._key, model, f"environment variable {show_name(variable or '')}")
        self._headers = _read_headers(model, keyless) if own else {}
        self._lock = asyncio.Lock()

    async def headers(self) -> dict[str, str]:
        """Return the headers to send. Raises ProviderError where the token's command fails."""
        if self._command and not self._key:
            await self.refresh("")
        if not self._key:
            return dict(self._headers)
        # A token of Entra ID is a JWT, and goes where a key of Azure does not.
        as_key = self._azure and not self._command and not _JWT.fullmatch(self._key)
        return self._headers | ({"api-key": self._key} if as_key else {"Authorization": f"Bearer {self._key}"})

    @property
    def key(self) -> str:
        return self._key

    @property
    def secrets(self) -> list[str]:
        """All that must appear nowhere, the longest first."""
        values = {self._key, *(value for name, value in self._headers.items() if self._model.headers[name] != value)}
        return sorted((value for value in values if len(value) > 3), key=len, reverse=True)

    async def refresh(self, refused: str) -> bool:
        """Get a new token in place of ``refused``; False where no command gives one. Many that wait get the same one."""
        if not self._command:
            return False
        async with self._lock:
            if self._key == refused:
                self._key = await asyncio.to_thread(_run, self._command, self._model)
        return True


def _read_headers(model: PoolModel, keyless: bool) -> dict[str, str]:
    """The pool's own headers; a value that is a variable's name stands for what the variable holds."""
    found = {}
    for name, value in model.headers.items():
        if is_variable_name(value):
            variable = value.removeprefix("$")
            held = os.environ.get(variable, "").strip()
            if not held and not keyless:
                raise ConfigError(f"model {model.name}: header {name}: environment variable {variable} is not set; export it")
            _check(held, model, f"environment variable {variable}")
            value = held
        found[name] = value
    return found


def _run(command: str, model: PoolModel) -> str:
    """Return what the command prints: never a part of an error."""
    try:
        done = subprocess.run(
            shlex.split(command),
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        code = getattr(error, "returncode", None)
        reason = f"it ended with code {code}" if code is not None else type(error).__name__
        raise ProviderError(
            f"model {model.name}: api_key_command gives no token ({reason}); try the command itself, or log in anew"
        ) from None
    token = done.stdout.strip()
    if not token:
        raise ProviderError(f"model {model.name}: api_key_command printed nothing; it must print the token and nothing else")
    _check(token, model, "what api_key_command prints")
    return token


def _check(value: str, model: PoolModel, where: str) -> None:
    if not (value.isascii() and value.isprintable()):
        raise ConfigError(f"model {model.name}: {where} holds characters that no key has; copy it anew")
