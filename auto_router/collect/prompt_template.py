"""The prompt that models are asked, made from a row by a Jinja template: the default, or one of the user's own.

Templates run in Jinja's sandbox, and cells are values in them, never templates: nothing in a data set is executed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from auto_router.errors import ConfigError, DataError, needs_extra

# What a row brings besides its prompt is shown around it; a row that brings nothing more is asked exactly as it stands.
DEFAULT_TEMPLATE = """\
{%- if context %}{% if is_retrieved %}<documents>
{{ context }}
</documents>{% else %}{{ context }}{% endif %}

{% endif %}{{ prompt }}{% if input %}

{{ input }}{% endif %}{% if choices %}
{% for choice in choices %}
{{ letters[loop.index0] ~ "." if letters else "-" }} {{ choice }}{% endfor %}

{% if not letters %}Answer with one of these.{% elif several %}Answer with the letters of all right options.\
{% else %}Answer with the letter of the right option.{% endif %}{% elif classes %}

Answer with one of: {{ classes | join(", ") }}.{% endif %}"""
_AROUND = ("context", "input", "choices", "classes")  # what the default shows around the prompt
# What an expression of a template can raise on a cell it was not written for.
_FAILURES = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError, MemoryError)


@dataclass(frozen=True)
class PromptTemplate:
    """A Jinja template for prompts. Raises ConfigError where its text is no template."""

    text: str = DEFAULT_TEMPLATE

    def __post_init__(self) -> None:
        _ = self._template

    @cached_property
    def _template(self) -> Any:
        with needs_extra("collect"):
            from jinja2 import StrictUndefined, TemplateError
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        try:
            sandbox = ImmutableSandboxedEnvironment(
                undefined=StrictUndefined, finalize=lambda value: "" if value is None else value
            )
            return sandbox.from_string(self.text)
        except TemplateError as error:
            raise ConfigError(f"--prompt-template is no Jinja template: {error}") from error

    @property
    def is_default(self) -> bool:
        return self.text == DEFAULT_TEMPLATE

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the prompt of one row.

        Args:
            values: ``prompt``, ``context``, ``is_retrieved``, ``input``, ``choices``, ``letters``, ``classes``,
                ``several``, ``row``, and every column but the answer's under its own name; None is shown as nothing.

        Raises:
            DataError: the template cannot be filled in; the text continues "row N".
        """
        from jinja2 import TemplateError

        prompt: str
        if self.is_default:
            values = drop_repeats(values)
            prompt = values.get("prompt", "")
            if isinstance(prompt, str) and prompt.strip() and not any(values[name] for name in _AROUND):
                return prompt  # as the template would say it, in a tenth of the time
        try:
            prompt = self._template.render(values)
        except (TemplateError, *_FAILURES) as error:
            reason = str(error) or type(error).__name__
            names = ", ".join(name for name in values if isinstance(name, str))
            raise DataError(f": --prompt-template cannot be filled in ({reason}); it may use {names}") from error
        if not prompt.strip():
            raise DataError(": the prompt is empty")
        return prompt


def read_template(given: str | Path | None) -> PromptTemplate:
    """Return the template that a user names: a file, or the text itself; the default for None.

    Raises:
        ConfigError: it is neither, or no template.
    """
    if given is None:
        return PromptTemplate()
    text = str(given)
    if "{{" not in text and "{%" not in text:
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"--prompt-template {text[:200]!r} is no file that can be read ({error}), and no template: write columns as "
                "'{{ question }}'"
            ) from error
    return PromptTemplate(text)


def drop_repeats(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the default template without what the prompt itself says already."""
    prompt = str(values.get("prompt") or "")
    shown = dict(values)
    for name in ("context", "input"):
        if values[name] and values[name].strip() in prompt:
            shown[name] = ""
    if values["choices"] and shows_options(prompt, values["choices"], values["letters"]):
        shown["choices"] = ()
    words = prompt.casefold()
    if all(re.search(rf"(?<!\w){re.escape(name.casefold())}(?!\w)", words) for name in values["classes"]):
        shown["classes"] = ()
    return shown


def shows_options(prompt: str, choices: Sequence[str], letters: str) -> bool:
    """Whether a prompt names every option behind its letter, as "A) Paris", "(a) Paris" or "A. Paris"."""
    return bool(letters) and all(
        re.search(rf"(?<!\w)[(\[]?{letter}\s*[).:\]]\s*{re.escape(choice)}", prompt, re.IGNORECASE)
        for letter, choice in zip(letters, choices, strict=True)
    )
