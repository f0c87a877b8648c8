"""Prompts about programs: what a short Python program prints, and facts that a programmer knows."""

from __future__ import annotations

import contextlib
import io
import random

from prompt_record import Prompt, choice_prompt

# Braces take small numbers; each program prints one line. Difficulty rises.
PROGRAMS: tuple[str, ...] = (
    "print({a} + {b})",
    "print('ab' * {s})",
    "x = [{a}, {b}, {c}]\nprint(x[1])",
    "print(len('window') + {s})",
    "print({a} // {s}, {a} % {s})",
    "words = 'red green blue'.split()\nprint(words[-1])",
    "x = {a}\nx += {s}\nx *= 2\nprint(x)",
    "total = 0\nfor n in range({s}):\n    total += n\nprint(total)",
    "print([n * n for n in range(1, {s})])",
    "d = {{'a': {a}, 'b': {b}}}\nd['a'] += 1\nprint(d['a'])",
    "def f(n):\n    return n * {s} - 1\n\nprint(f({s}))",
    "print('{w}'[1:4])",
    "print('{w}'.upper())",
    "x = [{a}, {b}, {c}]\ny = x\ny.append({s})\nprint(len(x))",
    "print(sorted([{a}, {b}, {c}], reverse=True)[0])",
    "def f(n):\n    return 1 if n < 2 else n * f(n - 1)\n\nprint(f({s}))",
    "print({a} > {b})",
    "print(len('{w}'))",
    "s = set([{a}, {b}, {a}, {s}, {b}])\nprint(len(s))",
    "a, b = {a}, {b}\na, b = b, a\nprint(a)",
    "print('-'.join(str(n) for n in range({s}, 0, -1)))",
    "x = 1\nwhile x < {a}:\n    x *= 2\nprint(x)",
)

QUESTIONS = (
    "What does this Python program print?",
    "Give the output of this Python code.",
    "What is printed by this Python code?",
)

OPEN: tuple[tuple[str, str], ...] = (
    ("Which Python keyword starts the definition of a function?", "def"),
    ("Which Python keyword defines a class?", "class"),
    ("Which built-in Python function returns the number of items in a list?", "len"),
    ("Which list method in Python adds one item at the end?", "append"),
    ("Which Python keyword leaves a loop at once?", "break"),
    ("Which Python keyword skips to the next round of a loop?", "continue"),
    ("Which Python string method turns 'abc' into 'ABC'?", "upper"),
    ("Which SQL keyword removes rows from a table?", "DELETE"),
    ("Which SQL clause filters rows before grouping?", "WHERE"),
    ("What does the H in HTML stand for?", "Hypertext"),
    ("Which git command makes a local copy of a remote repository? Write only the word after 'git'.", "clone"),
    ("Which Unix command prints the current folder's path?", "pwd"),
    ("Which Unix command lists the files in a folder?", "ls"),
    ("Which JavaScript keyword declares a constant?", "const"),
    ("Which Python keyword handles an exception after 'try'?", "except"),
    ("Which Python string method splits a text into a list?", "split"),
    ("Which Python keyword gives values from a generator, one at a time?", "yield"),
    ("Which Python statement does nothing and serves as a placeholder?", "pass"),
    ("Which Unix command changes the permissions of a file?", "chmod"),
    ("Which CSS property sets the colour of text?", "color"),
)

CHOICES: tuple[tuple[str, str, tuple[str, str, str]], ...] = (
    ("Which Python type cannot be changed after it is made?", "tuple", ("list", "dict", "set")),
    ("Which item does `list.pop()` remove without an argument?", "the last", ("the first", "the largest", "none")),
    ("Which symbol starts a comment in Python?", "#", ("//", "--", "%")),
    ("Which data structure is last in, first out?", "stack", ("queue", "heap", "hash table")),
    ("What is the average cost of a look-up in a hash table?", "O(1)", ("O(n)", "O(log n)", "O(n log n)")),
    ("What does binary search need?", "sorted data", ("unique data", "numeric data", "linked data")),
    ("Which HTTP status code says that a page was not found?", "404", ("200", "301", "500")),
    ("Which HTTP method is meant for reading only?", "GET", ("POST", "PUT", "DELETE")),
    ("Which Python exception means a missing dictionary key?", "KeyError", ("IndexError", "ValueError", "NameError")),
    ("Which Python exception comes from int('x')?", "ValueError", ("TypeError", "KeyError", "SyntaxError")),
    ("What does `7 // 2` give in Python?", "3", ("3.5", "4", "1")),
    ("Which of these is a compiled language with manual memory management?", "C", ("Python", "JavaScript", "Ruby")),
    ("Which SQL statement adds a row?", "INSERT INTO", ("ADD ROW", "UPDATE", "CREATE ROW")),
    ("Which number is binary 1010 in decimal?", "10", ("8", "12", "20")),
    ("Which number is hexadecimal FF in decimal?", "255", ("256", "15", "127")),
    ("Which Python keyword makes a small unnamed function?", "lambda", ("def", "inline", "func")),
    ("Which git command puts staged changes into the history?", "git commit", ("git push", "git add", "git stash")),
    ("Which traversal of a binary search tree gives sorted keys?", "in-order", ("pre-order", "post-order", "by level")),
    ("Which Unix command searches lines that match a pattern?", "grep", ("find", "cat", "wc")),
    ("Which regular expression matches one or more digits?", r"\d+", (r"\w*", r"\d?", r"\s+")),
)  # fmt: skip


def run_program(program: str) -> str:
    """What ``program`` prints, without the final line break. Only for programs of this module."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {})
    return printed.getvalue().strip()


def code_output(rng: random.Random, count: int) -> list[Prompt]:
    """What does this program print? Programs of one template share a group."""
    made = []
    for i in range(count):
        kind = i % len(PROGRAMS)
        a, b, c = rng.sample(range(3, 20), 3)
        word = rng.choice(("market", "silver", "planet", "garden", "rocket"))
        program = PROGRAMS[kind].format(a=a, b=b, c=c, s=rng.randint(2, 4), w=word)
        question = rng.choice(QUESTIONS)
        ending = rng.choice(("Reply with the printed text only.", "Answer with the output only, nothing else."))
        text = f"{question}\n```python\n{program}\n```\n{ending}"
        made.append(Prompt(text, run_program(program), "code_output", f"code-{kind}"))
    return made


def code_facts(rng: random.Random, count: int) -> list[Prompt]:
    """Half open, half multiple choice; ``count`` of them at most, one group each."""
    made = []
    for i, (question, answer) in enumerate(OPEN):
        ending = rng.choice(("Answer with one word.", "Reply with the name only.", "Give only the word itself."))
        made.append(Prompt(f"{question} {ending}", answer, "code_fact", f"code-open-{i}"))
    for i, (question, right, wrong) in enumerate(CHOICES):
        text, letter = choice_prompt(rng, question, right, wrong)
        made.append(Prompt(text, letter, "code_fact", f"code-choice-{i}"))
    return made[:count]
