"""README and docs: every block is run, checked or says why not; every link resolves; every flag and variable exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from auto_router.data.pool import load_pool
from auto_router.data.records import parse_records
from tests.checkout import PAGES, ROOT, Block, blocks

RUN = {"run", "run: first", "run: after demo", "run: with endpoints", "run: with a data set", "run: by every other test"}
OTHERS = {
    "--num_workers",
    "--schema",
    "--profile",
    "--index-url",
    "--platform",
    "--query",
    "--resource",
    "--output",
    "--embeddings",
    "--pooling",
}  # of pip, mypy, az, llama-server, the LiteLLM proxy, prisma and docker compose
CHECKED = {"check: pool", "check: records", "check: file tree"}


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_every_block_is_run_checked_or_says_why_not(block: Block) -> None:
    reason = re.fullmatch(r"not run: (.{10,})", block.marker)
    assert block.marker in RUN | CHECKED or reason, f"{block}: mark it with one of {sorted(RUN | CHECKED)} or 'not run: REASON'"
    assert block.language in ("bash", "powershell", "python", "yaml", "json", "text")


@pytest.mark.parametrize("block", [*blocks("check: pool"), *blocks("check: records")], ids=str)
def test_pools_and_records_are_valid(block: Block, tmp_path: Path) -> None:
    if block.marker == "check: pool":
        (tmp_path / "pool.yaml").write_text(block.body)
        assert len(load_pool(tmp_path / "pool.yaml").models) >= 2
    else:
        assert parse_records(json.loads(block.body))


def anchors(page: Path) -> set[str]:
    """The names that headings can be linked by, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_resolves(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        assert not re.match(r"\w+:", target), f"{page.name}: {target} cannot be checked without a network; name it in words"
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page.name}: {target}"


def test_every_page_is_in_the_table_of_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in text] == []


def sources() -> str:
    folders = [
        *ROOT.glob("*.py"),
        *(ROOT / "auto_router").rglob("*.py"),
        *ROOT.glob("examples/**/*.py"),
        *ROOT.glob("benchmarks/**/*.py"),
    ]
    return "".join(path.read_text(encoding="utf-8") for path in folders)


def test_every_flag_and_variable_exists() -> None:
    code = sources()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for flag in set(re.findall(r"(?<![\w-])--[a-z][a-z_-]+", text)) - {"--help"} - OTHERS:
            # BooleanOptionalAction makes a --no- form of a flag; Stage 1 makes one column flag a role.
            known = flag.replace("--no-", "--")
            assert f'"{known}"' in code or known.endswith("-column"), f"{page.name}: {flag}"
        for variable in set(re.findall(r"\b(?:AUTO_ROUTER|NVIDIA|OPENAI)_[A-Z_]+\b", text)):
            assert variable in code or "api_key_env" in text, f"{page.name}: {variable}"


def test_files_that_are_named_exist() -> None:
    for page in PAGES:
        for name in re.findall(
            r"`((?:auto_router|tests|benchmarks|examples|docs|notebooks)/[\w./]+)`", page.read_text(encoding="utf-8")
        ):
            assert (ROOT / name).exists(), f"{page.name}: {name}"
