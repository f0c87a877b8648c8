"""Questions from any data set: hub id, ``save_to_disk`` folder, or local files; row by row, as often as they are needed.

Where rows lie is :mod:`auto_router.collect.dataset_files`; which columns say what, :mod:`auto_router.collect.columns`; how a
row becomes a question, :mod:`auto_router.collect.recipes`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from auto_router.collect.columns import find_recipe
from auto_router.collect.dataset_files import DataTable, Row, open_table
from auto_router.collect.image_source import ImageSource
from auto_router.collect.prompt_template import PromptTemplate
from auto_router.collect.question import Question
from auto_router.collect.recipes import Recipe
from auto_router.errors import DataError

TEST_NAMES = ("test", "validation", "valid", "val", "dev", "eval")
SKIP_ADVICE = "correct it, or leave such rows out with --skip-bad-rows"


@dataclass(frozen=True)
class Source:
    """A data set and how to read it.

    Args:
        dataset: a path or glob, else a hub id (``owner/name``).
        config: the configuration of a hub data set that has several.
        split: which split of a data set that has several.
        columns: names for the roles of ``COLUMNS``; those left out are found, "" is none.
        test_split: a further split, whose rows become the test set.
        split_column: a column that says ``train`` or ``test`` (or validation, dev, …) for each row.
        template: how the prompt is made of a row.
        first_index: 0 or 1, where an answer that is an option's number is counted from; None: found.
        revision: branch, tag or commit of a hub data set.
        streaming: read a hub data set over the network, without fetching its files first.
        with_rows: questions keep the columns of their rows, as scorers need them.
    """

    dataset: str
    config: str | None = None
    split: str = "train"
    columns: Mapping[str, str | None] = field(default_factory=dict)
    images: ImageSource = field(default_factory=ImageSource)
    test_split: str | None = None
    split_column: str | None = None
    template: PromptTemplate = field(default_factory=PromptTemplate)
    first_index: int | None = None
    revision: str | None = None
    streaming: bool = False
    with_rows: bool = False

    @cached_property
    def tables(self) -> list[tuple[DataTable, Recipe, bool]]:
        """Each split with how its rows are read, and whether it is the test. Raises DataError as :meth:`questions`."""
        parts = [(self.split, False)] + ([(self.test_split, True)] if self.test_split else [])
        found = []
        for name, is_test in parts:
            table = open_table(self.dataset, self.config, name, self.revision, self.streaming)
            recipe = find_recipe(table, self.dataset, self.columns, self.split_column, self.template, self.first_index)
            found.append((table, recipe, is_test))
        return found

    @property
    def recipe(self) -> Recipe:
        """How the rows are read."""
        return self.tables[0][1]

    def questions(
        self, wanted: Container[int] | None = None, on_bad: Callable[[int, str], None] | None = None
    ) -> Iterator[Question]:
        """Yield every row as a question.

        Args:
            wanted: numbers of the rows to read; None for all. Of others, no image is opened or fetched.
            on_bad: called with the number of a row that is not usable and why (text that continues "row N"); the row is
                left out. Without it such a row is an error.

        Raises:
            DataError: the data set cannot be loaded, is empty, lacks a column, or a row is not usable.
        """
        number = 0
        for table, recipe, is_test in self.tables:
            for row in table.rows(recipe.present if self.with_rows else recipe.used):
                if wanted is None or number in wanted:
                    try:
                        yield self._question(number, row, recipe, is_test)
                    except DataError as error:
                        if on_bad is None:
                            raise DataError(f"data set {self.dataset}, row {number}{error}; {SKIP_ADVICE}") from error
                        on_bad(number, str(error))
                number += 1

    def count(self) -> int:
        """Return how many rows there are, reading as little as possible of them."""
        return sum(
            table.count if table.count is not None else sum(1 for _ in table.rows(recipe.used[:1]))
            for table, recipe, _ in self.tables
        )

    def _question(self, number: int, row: Row, recipe: Recipe, is_test: bool) -> Question:
        if not isinstance(row, Mapping):
            raise DataError(f": {row!r:.60} is no object with columns")
        if None in row:
            raise DataError(f": it has more cells than the header has columns ({row[None]!r:.60})")
        question = recipe.question(number, row, self.images)
        if self.with_rows:
            question = replace(question, row={name: row.get(name) for name in recipe.present if name not in recipe.images})
        if self.split_column is not None:
            is_test = str(row.get(self.split_column)).lower() in TEST_NAMES
        fixed = self.split_column is not None or self.test_split is not None
        return replace(question, is_test=is_test) if fixed else question
