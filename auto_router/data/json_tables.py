"""JSON documents that are a table: the forms in which pandas writes one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def table_rows(document: dict[str, Any]) -> Iterator[Any]:
    """Yield the rows of an object that is a table: a list for each column, an object for each row or column; else itself.

    These are the forms that pandas writes (``orient``: list, split, index, columns).
    """
    values = list(document.values())
    head, body = document.get("columns"), document.get("data")
    inner = [value.keys() for value in values if isinstance(value, dict)]
    even = all(isinstance(value, list) and len(value) == len(values[0]) > 1 for value in values)
    if (
        isinstance(head, list)
        and isinstance(body, list)
        and all(isinstance(row, list) and len(row) == len(head) for row in body)
    ):
        yield from (dict(zip(map(str, head), row, strict=True)) for row in body)
    elif len(values) > 1 and even and not all(isinstance(value[0], dict) for value in values):  # several lists of rows are none
        yield from (dict(zip(document, row, strict=True)) for row in zip(*values, strict=True))
    elif len(inner) == len(values) > 1 and inner[0] and all(keys == inner[0] for keys in inner):
        by_column = all(key.isdigit() for key in inner[0])
        yield from ({name: document[name][key] for name in document} for key in inner[0]) if by_column else values
    else:
        yield document
