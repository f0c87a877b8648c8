"""Mathematical expressions reckoned by value, exactly where that is possible.

A small parser of its own, since what it reads is untrusted: no ``eval``, no rewriting of formulas that may take forever, bounds
on length, depth and size. (math-verify, on SymPy, was measured beside it: see docs/judge.md.)
"""

from __future__ import annotations

import cmath
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction

MAX_LENGTH = 400  # characters of an expression
MAX_NESTING = 30  # brackets, powers, roots and fractions within each other
MAX_BITS = 4096  # of an exact number; larger ones are reckoned in floating point

Value = Fraction | float | complex
_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    "sqrt": cmath.sqrt, "√": cmath.sqrt, "ln": cmath.log, "log": lambda x: cmath.log(x) / cmath.log(10), "exp": cmath.exp,
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "sec": lambda x: 1 / cmath.cos(x), "csc": lambda x: 1 / cmath.sin(x),
    "cot": lambda x: 1 / cmath.tan(x), "arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan, "sinh": cmath.sinh,
    "cosh": cmath.cosh, "tanh": cmath.tanh, "abs": lambda x: complex(abs(x)),
    "cbrt": lambda x: _root(x, 3), "∛": lambda x: _root(x, 3),
}  # fmt: skip
_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "theta": "θ", "lambda": "λ", "mu": "μ", "rho": "ρ", "tau": "τ",
    "omega": "ω", "phi": "φ", "sigma": "σ",
}  # fmt: skip
_NAMES = "|".join(sorted((name for name in _FUNCTIONS if name.isalpha()), key=len, reverse=True))
_TOKEN = re.compile(
    rf"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)|\\?(?P<function>{_NAMES}|√|∛)(?P<base>_\{{?\d{{1,4}}\}}?)?(?![A-Za-z])|\\?(?P<constant>pi)(?![A-Za-z])"
    rf"|\\(?P<command>d?t?frac|d?binom|{'|'.join(_GREEK)})(?![A-Za-z])"
    r"|(?P<letter>[A-Za-zα-ωΑ-Ω∞])(?P<index>_\{?\w{1,3}\}?)?|(?P<sign>[-+*/^!(){}\[\]|×·÷]))"
)
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


class _NotMathsError(ValueError):
    """The text is no expression that this module reads."""


def evaluate(text: str, variables: Mapping[str, complex] | None = None) -> Value | None:
    """Return the value of an expression: a Fraction where exact, else a number; None for no expression, or variables left."""
    if len(text) > MAX_LENGTH:
        return None
    try:
        parser = _Parser(_tokens(text), variables or {})
        value = parser.sum()
        if parser.position < len(parser.tokens):
            return None
    except (_NotMathsError, ArithmeticError, ValueError):
        return None
    if isinstance(value, complex) and not (math.isfinite(value.real) and math.isfinite(value.imag)):
        return None
    return value


def read_variables(text: str) -> frozenset[str] | None:
    """Return the letters of an expression that stand for numbers; None for no expression."""
    try:
        tokens = _tokens(text)
    except _NotMathsError:
        return None
    return frozenset(token for kind, token in tokens if kind == "letter" and token not in ("e", "i"))


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, position = [], 0
    text = text.rstrip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise _NotMathsError(text[position : position + 10])
        kind = {"index": "letter", "base": "function"}.get(str(found.lastgroup), str(found.lastgroup))
        token = found.group(kind) + (found.group("index") or "") + (found.group("base") or "")
        if token in ("π", "Π"):
            kind, token = "constant", "pi"
        elif token in _GREEK:
            kind, token = "letter", _GREEK[token]
        tokens.append((kind, token))
        if [name for name, _ in tokens[-3:]] == ["letter"] * 3:
            raise _NotMathsError("a word")
        position = found.end()
    return tokens


def _root(value: complex, degree: int) -> complex:
    real = value.real < 0 and value.imag == 0 and degree % 2 == 1
    return complex(-((-value.real) ** (1 / degree))) if real else value ** (1 / degree)


class _Parser:
    """Recursive descent over tokens, reckoning as it goes."""

    def __init__(self, tokens: list[tuple[str, str]], variables: Mapping[str, complex]) -> None:
        self.tokens, self.variables, self.position, self.depth = tokens, variables, 0, 0
        if not tokens:
            raise _NotMathsError("empty")

    def next(self) -> str:
        return self.tokens[self.position][1] if self.position < len(self.tokens) else ""

    def take(self, token: str) -> bool:
        taken = self.next() == token
        self.position += taken
        return taken

    def require(self, token: str) -> None:
        if not self.take(token):
            raise _NotMathsError(token)

    @contextmanager
    def descend(self) -> Iterator[None]:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise _NotMathsError("too deep")
        yield
        self.depth -= 1

    def sum(self) -> Value:
        with self.descend():
            value = self.product()
            while self.next() in ("+", "-"):
                sign = 1 if self.take("+") else -1
                self.position += sign < 0
                value = _reckon("+", value, _reckon("*", Fraction(sign), self.product()))
        return value

    def product(self) -> Value:
        value = self.parse_signed()
        while self.position < len(self.tokens):
            kind, token = self.tokens[self.position]
            if token in ("*", "×", "·", "/", "÷"):
                self.position += 1
                value = _reckon("/" if token in ("/", "÷") else "*", value, self.parse_signed())
            elif (
                kind in ("letter", "function", "constant", "command")
                or token in ("(", "{")
                or (kind == "number" and self.after_unit())
            ):
                value = _reckon("*", value, self.power())
            else:
                break
        return value

    def after_unit(self) -> bool:
        return self.tokens[self.position - 1][1] in (")", "}")

    def parse_signed(self) -> Value:
        signs = 0
        while self.next() in ("+", "-"):
            signs += self.next() == "-"
            self.position += 1
        value = self.power()
        return _reckon("*", Fraction(-1), value) if signs % 2 else value

    def power(self) -> Value:
        value = self.atom()
        while self.take("!"):
            if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= 170:
                raise _NotMathsError("factorial")
            value = Fraction(math.factorial(int(value)))
        if self.take("^"):
            with self.descend():
                value = _reckon("^", value, self.parse_signed())
        return value

    def atom(self) -> Value:
        if self.position >= len(self.tokens):
            raise _NotMathsError("end")
        kind, token = self.tokens[self.position]
        self.position += 1
        if kind == "number":
            return Fraction(token)
        if kind == "constant":
            return math.pi
        if kind == "function":
            with self.descend():
                return self.function(token)
        if kind == "command":
            with self.descend():
                above, below = self.argument(), self.argument()
            return _reckon("/", above, below) if "frac" in token else _binomial(above, below)
        if kind == "letter":
            if token in self.variables:
                return self.variables[token]
            if token in ("e", "i"):
                return math.e if token == "e" else 1j
            raise _NotMathsError(token)
        if token == "|":
            value = self.sum()
            self.require("|")
            return Fraction(abs(value)) if isinstance(value, Fraction) else abs(value)
        if token in _BRACKETS:
            value = self.sum()
            self.require(_BRACKETS[token])
            return value
        raise _NotMathsError(token)

    def argument(self) -> Value:
        """What a command takes: a group, or one digit."""
        kind, token = self.tokens[self.position] if self.position < len(self.tokens) else ("", "")
        if kind == "number" and len(token) > 1 and token.isdigit():
            self.tokens[self.position : self.position + 1] = [("number", char) for char in token]
        return self.atom()

    def function(self, name: str) -> Value:
        name, _, base = name.partition("_")
        degree = exponent = None
        if name in ("sqrt", "√") and self.take("["):
            degree = self.sum()
            self.require("]")
        if self.take("^"):
            exponent = self.argument()
        if exponent == -1 and f"arc{name}" in _FUNCTIONS:
            name, exponent = f"arc{name}", None  # "sin^{-1} x"
        # The power of "sin(x)^2" is that of the sine.
        argument = self.atom() if self.next() == "(" else self.power()
        if degree is not None:
            if not isinstance(degree, Fraction) or degree.denominator != 1 or not 2 <= degree <= 20:
                raise _NotMathsError("degree")
            value: Value = _exact_root(argument, int(degree))
        elif name in ("sqrt", "√", "cbrt", "∛"):
            value = _exact_root(argument, 2 if name in ("sqrt", "√") else 3)
        else:
            value = _FUNCTIONS[name](complex(argument))
        if base:
            value = cmath.log(complex(argument)) / cmath.log(int(base.strip("{}")))
        return value if exponent is None else _reckon("^", value, exponent)


def _exact_root(value: Value, degree: int) -> Value:
    if isinstance(value, Fraction) and value >= 0:
        above, below = (round(part ** (1 / degree)) if part < 2**900 else 0 for part in (value.numerator, value.denominator))
        if above**degree == value.numerator and below**degree == value.denominator:
            return Fraction(above, below)
    return _root(complex(value), degree)


def _binomial(above: Value, below: Value) -> Fraction:
    if (
        not (isinstance(above, Fraction) and isinstance(below, Fraction))
        or not 0 <= below <= above <= 300
        or above.denominator * below.denominator != 1
    ):
        raise _NotMathsError("binomial")
    return Fraction(math.comb(int(above), int(below)))


def _reckon(operator: str, one: Value, other: Value) -> Value:
    """Apply an operator, exactly as long as both are exact and the result stays small."""
    if isinstance(one, Fraction) and isinstance(other, Fraction) and operator == "^":
        size = max(one.numerator.bit_length(), one.denominator.bit_length())
        if other.denominator == 1 and abs(other) * size <= MAX_BITS:
            return one ** int(other)
        if other.denominator <= 20 and other.denominator > 1 and one >= 0 and abs(other.numerator) * size <= MAX_BITS:
            return _exact_root(one**other.numerator, other.denominator)
    if operator == "^":
        return complex(one) ** complex(other)
    if not (isinstance(one, Fraction) and isinstance(other, Fraction)):
        one, other = complex(one), complex(other)
    result: Value = one + other if operator == "+" else one * other if operator == "*" else one / other
    if isinstance(result, Fraction) and max(result.numerator.bit_length(), result.denominator.bit_length()) > MAX_BITS:
        return complex(result)
    return result
