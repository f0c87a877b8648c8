"""What makes the site of the docs, and what measures how hard they are to read."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import build_docs
import pytest
import readability
import record_demo
import try_wheel
import yaml

from auto_router.assess.report import PAGE_FOLDER
from auto_router.decide import eligibility, rule
from auto_router.decide.operating_points import PROMISES
from tests.checkout import PAGES, ROOT

HARD = "The operationalisation of heterogeneous infrastructural interdependencies necessitates considerable organisational " * 3


def test_prose_is_what_is_read() -> None:
    page = (
        "# A heading of some length here\n\nIt costs 0.41 of that, as [the page](docs/a.md) says. `make demo` runs it all.\n\n"
        "| a table | is left out here |\n\n```bash\npython nothing of this is read\n```\n<!-- nor is this comment -->\n"
        "- The first item has no point\n- The second item ends here.\n"
    )
    assert readability.sentences_of(page) == [
        "It costs 0.41 of that, as the page says.",
        "Code runs it all.",
        "The first item has no point",
        "The second item ends here.",
    ]


def test_hard_pages_are_told_from_easy_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    easy, hard = tmp_path / "easy.md", tmp_path / "hard.md"
    easy.write_text("The router picks a model. It costs less. You keep the quality.", encoding="utf-8")
    hard.write_text(f"{HARD}of everything.", encoding="utf-8")
    readability.main([str(easy)])
    with pytest.raises(SystemExit, match="1"):
        readability.main([str(hard), "--longest", "1"])
    assert "too hard" in capsys.readouterr().out
    assert readability.read_page("").is_easy


def test_every_page_of_the_docs_is_easy() -> None:
    pages = readability.pages()
    assert {page.name for page in pages} >= {"README.md", "faq.md", "glossary.md"}
    assert [page.name for page in pages if not readability.read_page(page.read_text(encoding="utf-8")).is_easy] == []


def test_the_glossary_has_every_word_that_a_user_meets() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    reasons = {value for name, value in vars(rule).items() if name.isupper() and isinstance(value, str)}
    reasons |= {value for name, value in vars(eligibility).items() if name.isupper() and isinstance(value, str)}
    assert len(reasons) >= 8
    assert [word for word in sorted(reasons) if f"`{word}`" not in text] == []
    measures = re.findall(r'scope="row">(n?[A-Z]\w*)', (PAGE_FOLDER / "report.html.jinja").read_text(encoding="utf-8"))
    words = {*measures, *PROMISES, "accuracy", "oracle", "Brier", "ECE", "gap closed", "quality kept", "cost saved", "novelty"}
    assert {"AIQ", "QNC", "RankScore", "PerfGain"} <= words
    assert [word for word in sorted(words) if word not in text] == []


def test_links_point_to_where_the_pages_lie() -> None:
    assert build_docs.turn_links("[a](docs/faq.md#x) [b](CHANGELOG.md)", True) == "[a](faq.md#x) [b](changelog.md)"
    assert build_docs.turn_links("[a](pool.md) [b](../SECURITY.md)", False) == "[a](pool.md) [b](security-reports.md)"


def test_diagrams_are_pictures_that_load_nothing_and_say_what_they_show() -> None:
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    assert not [page for page in pages if "```mermaid" in page], "drawn by a script from the web, or shown as its source"
    for name in ("how-it-decides", "stages", "labels"):
        assert any(re.search(rf"!\[[^\]]{{30,}}\]\((docs/)?{name}\.svg\)", page) for page in pages)
        drawing = (ROOT / "docs" / f"{name}.svg").read_text(encoding="utf-8")
        assert "<title" in drawing
        assert "<desc" in drawing
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|<script|href=\"(?!#)", drawing)


def test_the_recording_shows_every_line_in_its_time_and_is_a_picture_alone() -> None:
    came = [
        (0.5, "\x1b[1m== Stage 1 <&>\x1b[0m"),
        (60.0, "  a table " + "x" * 200),
        (60.0, "done in 9 s. It is " + "worth it " * 20),
        (60.1, ""),
    ]
    lines = record_demo.lay_out([record_demo.Line(second, f"{text}\n") for second, text in came])
    assert [line.text for line in lines[:2]] == [f"$ {record_demo.COMMAND}", "== Stage 1 <&>"]
    assert max(len(line.text) for line in lines) <= record_demo.COLUMNS
    seconds = [line.second for line in lines]
    assert seconds == sorted(seconds)
    assert seconds[-1] < 5, "a minute's pause is cut short"
    assert record_demo.worth_of(lines) == f"done in 9 s. It is {'worth it ' * 20}".strip()
    drawing = ElementTree.fromstring(record_demo.draw(lines))
    shown = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert shown[1:] == [line.text for line in lines if line.text]


def test_the_committed_recording_ends_with_the_worth_and_the_next_commands() -> None:
    drawing = ElementTree.parse(ROOT / "docs" / "demo.svg")
    texts = [element.text or "" for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert "next:" in texts
    assert any(text.startswith("done in") for text in texts[-8:])
    assert not {element.tag.split("}")[1] for element in drawing.iter()} & {"script", "image", "foreignObject", "a"}


def test_the_navigation_has_every_page() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def leaves(entries: list[object]) -> list[str]:
        places: list[str] = []
        for entry in entries:
            assert isinstance(entry, dict)
            for value in entry.values():
                places += leaves(value) if isinstance(value, list) else [value]
        return places

    named = leaves(settings["nav"])
    pages = [page.name for page in (ROOT / "docs").glob("*.md")]
    assert sorted(named) == sorted([*pages, *build_docs.TOP_PAGES.values(), "commands.md", "api.md"])
    assert settings["theme"]["font"] is False, "fonts would come from the web"


def test_the_api_page_names_what_is_there() -> None:
    for path, _ in build_docs.API.values():
        module, _, name = path.rpartition(".")
        source = ROOT / f"{path.replace('.', '/')}.py"
        assert source.exists() or f"class {name}" in (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"), path


def test_the_try_of_the_wheel_says_what_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert try_wheel.version_of("no-such-python") is None
    assert try_wheel.version_of(sys.executable) == platform.python_version()
    (tmp_path / "file").write_bytes(b"x" * 2**20)
    assert 1 <= try_wheel.megabytes(tmp_path) < 1.1
    with pytest.raises(SystemExit, match=r"no nn_router\.pth in"):
        try_wheel.main(["--artifacts", str(tmp_path)])
    (tmp_path / "nn_router.pth").touch()
    monkeypatch.setattr(try_wheel, "build_wheel", lambda folder: tmp_path / "file")
    with pytest.raises(SystemExit, match="none of these Pythons is here"):
        try_wheel.main(["--artifacts", str(tmp_path), "--python", "no-such-python"])
