"""Write a ``pool.yaml`` from five answers: ``auto-router init``.

Asks which models there are, where they answer, which variable holds the key, who judges and what they cost; a flag answers
its question beforehand. A key is never asked for, only its variable's name. A file that is there is not overwritten without
a yes.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from auto_router.data.pool import load_pool
from auto_router.errors import ConfigError, run
from auto_router.files import atomic_path
from auto_router.terminal import Parser

Meaning = TypeVar("Meaning")
_OPENAI = "https://api.openai.com/v1"
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,79}")

EXAMPLES = """examples:
  auto-router init
  auto-router init --model gpt-5-mini --model gpt-5-nano --key-env OPENAI_API_KEY --judge gpt-5 --output my_pool.yaml
  auto-router init --model small --model large --base-url http://127.0.0.1:8000/v1 --key-env "" --judge "" \\
      --price small=0.1/0.3 --price large=1/4

next: python prepare_hf_data.py --dataset YOUR_FILE --pool my_pool.yaml --dry-run"""

_HEAD = """# The candidates and the judge. docs/pool.md says what every key does.
# Keys stay in the environment: api_key_env names the variable. Prices are USD per million tokens.
models:
"""
_NO_PRICE = """    # input_usd_per_mtok: 0.0         # without prices only the operating point "accuracy" can be fitted
    # output_usd_per_mtok: 0.0
"""
_NO_JUDGE_PRICE = """  # input_usd_per_mtok: 0.0           # without prices --max-cost-usd cannot be kept to; 0 if it is free
  # output_usd_per_mtok: 0.0
"""
_MORE = """    # modalities: [text, image]       # if it takes images; left out: text alone
    # context_window: 128000          # tokens of a request and its answer
    # requests_per_minute: 500        # stay below your limit
    # parameters: {max_tokens: null, max_completion_tokens: 4096}   # for models that reason
"""


@dataclass(frozen=True, slots=True)
class PoolAnswers:
    """What the five questions came to."""

    models: tuple[str, ...]
    base_url: str
    key_env: str | None
    prices: dict[str, tuple[float, float]] = field(default_factory=dict)
    """USD per million tokens of input and output, by model."""
    judge: str | None = None

    def to_yaml(self) -> str:
        """Return the file, with a comment where a choice is left."""
        entries = "".join(f"  - {self._entry(name, '    ')}{_MORE}" for name in self.models)
        if self.judge is None:
            return f"{_HEAD}{entries}# judge:                              # without one, give --match-only to Stage 1\n"
        inside = self._entry(self.judge, "  ", "judge")
        return f"{_HEAD}{entries}\njudge:                                # best from outside the pool\n  {inside}"

    def _entry(self, model: str, indent: str, name: str = "") -> str:
        lines = [f"name: {_quote(name or model)}", f"model: {_quote(model)}", f"base_url: {_quote(self.base_url)}"]
        lines += [] if self.key_env is None else [f"api_key_env: {self.key_env}"]
        price = self.prices.get(model)
        for side, usd in zip(("input", "output"), price or (), strict=False):
            lines.append(f"{side}_usd_per_mtok: {_plain(usd)}")
        unpriced = _NO_JUDGE_PRICE if name else _NO_PRICE
        return f"\n{indent}".join(lines) + "\n" + (unpriced if price is None else "")


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # YAML reads JSON's strings, but for its escapes of pairs of surrogates


def _plain(price: float) -> str:
    """A number that YAML takes for one: it reads 1e-05 as a word."""
    return f"{price:.6f}".rstrip("0").rstrip(".")


def read_models(text: str) -> tuple[str, ...]:
    """Return the names in a list with commas. Raises ConfigError where there is none, or one twice."""
    names = tuple(name for part in text.split(",") if (name := part.strip()))
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"models {text!r}: give one or more different names, as gpt-5-mini, my-model")
    return names


def read_url(text: str) -> str:
    """Return an endpoint's address. Raises ConfigError where it is none."""
    url = text.strip() or _OPENAI
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or re.search(r"\s", url):
        raise ConfigError("the address must begin with http:// or https:// and hold no key, such as http://127.0.0.1:8000/v1")
    return url.rstrip("/").removesuffix("/chat/completions")


def read_variable(text: str) -> str | None:
    """Return a variable's name, None for no key. Raises ConfigError, without the text, where it could be a key."""
    name = text.strip("- ").removeprefix("$")
    if name and not VARIABLE.fullmatch(name):
        raise ConfigError(
            "give the name of the variable that holds the key, in capitals, such as OPENAI_API_KEY, never the key"
        )
    return name or None


def read_prices(text: str, models: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return prices from ``NAME=INPUT/OUTPUT`` with commas between. Raises ConfigError where one is none."""
    prices = {}
    for part in filter(None, (piece.strip() for piece in text.strip("- ").split(","))):
        name, _, both = part.rpartition("=")
        try:
            pair = tuple(float(price) for price in both.split("/"))
        except ValueError:
            pair = ()
        if name not in models or len(pair) != 2 or not all(0 <= price < math.inf for price in pair):
            raise ConfigError(
                f"price {part!r}: write NAME=INPUT/OUTPUT in USD per million tokens; models are {', '.join(models)}"
            )
        prices[name] = (pair[0], pair[1])
    return prices


def read_judge(text: str) -> str | None:
    """Return the judge's name, None for none. Raises ConfigError where it is several, or a price."""
    name = text.strip("- ")
    if "=" in name or "," in name:
        raise ConfigError(f"judge {text!r}: give the name of one model, as its endpoint knows it; prices are asked next")
    return name or None


def ask(question: str, given: str | None, default: str = "") -> str:
    """Return the answer to a question, given beforehand or typed. Raises ConfigError where nobody can type one."""
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise ConfigError(f"nobody is there to ask ({question}): answer by flags; see --help")
    try:
        return input(f"{question}{f' [{default}]' if default else ''}: ").strip() or default
    except EOFError:
        raise ConfigError("no answer came; nothing is written") from None


def ask_for(question: str, given: str | None, read: Callable[[str], Meaning], default: str = "") -> Meaning:
    """Return what an answer means; one that is typed and means nothing is asked for again, with the reason.

    Raises ConfigError where a given one means nothing, or nobody can type one.
    """
    while True:
        text = ask(question, given, default)
        try:
            return read(text)
        except ConfigError as error:
            if given is not None:
                raise
            print(error)


def collect_answers(arguments: argparse.Namespace) -> PoolAnswers:
    """Ask what the flags leave open. Raises ConfigError where an answer is impossible."""
    given, priced = (None if value is None else ",".join(value) for value in (arguments.model, arguments.price))
    models = ask_for("1/5 models, by the names their endpoint knows, with commas", given, read_models)
    url = ask_for("2/5 address of the endpoint", arguments.base_url, read_url, _OPENAI)
    usual = "OPENAI_API_KEY" if url == _OPENAI else ""
    key_env = ask_for("3/5 variable that holds the key; - for none", arguments.key_env, read_variable, usual)
    judge = ask_for("4/5 model that judges answers, best from outside the pool; - for none", arguments.judge, read_judge)
    named = [*models, *([] if judge is None else [judge])]
    asked = f", {judge}=1/4" if judge and judge not in models else ""
    wanted = f"5/5 prices in USD per million tokens, input/output, as {models[0]}=0.25/2{asked}; - if unknown"
    return PoolAnswers(models, url, key_env, ask_for(wanted, priced, lambda text: read_prices(text, named)), judge)


def write_pool(answers: PoolAnswers, path: Path, overwrite: bool) -> None:
    """Write the file, after it was read as Stage 1 reads it.

    Raises:
        ConfigError: the file is there and may not be overwritten, or would not be a pool.
    """
    if path.exists() and not overwrite:
        said = ask(f"{path} is there already; overwrite it? y or n", None if sys.stdin.isatty() else "n", "n")
        if said.lower() not in ("y", "yes"):
            raise ConfigError(f"{path} is there already and stays; give --output another file, or --force")
    with atomic_path(path) as temporary:
        temporary.write_text(answers.to_yaml(), encoding="utf-8")
        load_pool(temporary)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(description="Write a pool file from five answers.", epilog=EXAMPLES)
    parser.add_argument("--model", action="append", metavar="NAME", help="a model, as its endpoint knows it; again for each")
    parser.add_argument("--base-url", help=f"where they answer (asked for; {_OPENAI})")
    parser.add_argument("--key-env", metavar="VARIABLE", help='the variable that holds the key, never the key; "" for none')
    parser.add_argument("--price", action="append", metavar="NAME=IN/OUT", help='USD per million tokens; "" if unknown')
    parser.add_argument("--judge", metavar="NAME", help='the model that judges answers; "" for none')
    parser.add_argument("--output", type=Path, default=Path("pool.yaml"), help="the file to write (default: pool.yaml)")
    parser.add_argument("--force", action="store_true", help="overwrite it if it is there")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    answers = collect_answers(arguments)
    write_pool(answers, arguments.output, arguments.force)
    print(f"wrote {arguments.output}: open it, and add which models take images\n")
    rules = "" if answers.judge else " --match-only"  # Stage 1 asks who judges, where nobody does
    print(f"next: python prepare_hf_data.py --dataset YOUR_FILE --pool {arguments.output}{rules} --dry-run")


if __name__ == "__main__":
    sys.exit(run(main))
