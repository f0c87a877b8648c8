"""The report says what ``metrics.json`` says, holds all it needs, and lets no text of the data become page."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import nn_router
from auto_router.artifacts import load_artifact
from auto_router.assess import learning_curve, report
from auto_router.assess.rewordings import REWORDING_HEADERS, RULES
from auto_router.assess.tables import accuracy_lines
from auto_router.data.embeddings import METADATA_NAME
from auto_router.errors import DataError
from auto_router.files import write_json
from tests.assess.reports import BREAK_OUT, MODELS, trained


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("report"), "--baselines", "ridge")


class Page(HTMLParser):
    """What a browser would see: tags with attributes, told numbers, and the JSON block."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.numbers: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.data: Any = None
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        self._open = "json" if given.get("type") == "application/json" else tag
        if "data-metric" in given:
            self.numbers.append((str(given["data-metric"]), str(given["value"])))

    def handle_data(self, text: str) -> None:
        if self._open == "json":
            self.data = json.loads(text)
            self._open = ""
        elif self._open not in ("script", "style"):
            self.texts.append(text)


@pytest.fixture(scope="module")
def page(artifacts: Path) -> Page:
    return Page((artifacts / report.REPORT_NAME).read_text(encoding="utf-8"))


def test_every_number_is_the_one_of_metrics_json(artifacts: Path, page: Page) -> None:
    metrics = json.loads((artifacts / "metrics.json").read_text(encoding="utf-8"))
    assert len(page.numbers) > 200
    for place, shown in page.numbers:
        value = metrics
        for step in json.loads(place):
            value = value[step]
        assert float(shown) == value, place
    told = {json.loads(place)[-1] for place, _ in page.numbers}
    assert {
        "router",
        "oracle",
        "auc",
        "ece",
        "aiq",
        "qnc",
        "oracle_gain",
        "minus_best_single",
        "quality_kept",
        "cost_saved",
        "agreement",
        "p95",
    } <= told


def test_nothing_of_the_data_becomes_page(page: Page) -> None:
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert len(scripts) == 4  # the data, the library, and two of our own
    assert not any("onerror" in attributes or "src" in attributes for _, attributes in page.tags)
    assert sum(BREAK_OUT in text for text in page.texts) > 5
    assert page.data["wrong"]["rows"][0]["prompt"].startswith(BREAK_OUT)
    assert page.data["explorer"]["models"] == MODELS


def test_the_page_is_small_and_loads_nothing(artifacts: Path, page: Page) -> None:
    text = (artifacts / report.REPORT_NAME).read_text(encoding="utf-8")
    assert len(text.encode()) < 3_000_000
    (policy,) = [a["content"] or "" for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe-inline" not in policy.split("script-src")[1]
    assert not [tag for tag, a in page.tags if tag in ("link", "iframe") or (a.get("href") or "#")[0] != "#"]
    for script in ("page.js", "explorer.js"):
        source = (report.PAGE_FOLDER / script).read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|https?://", source), script


def test_wrongly_routed_prompts_are_those_and_carry_small_images(artifacts: Path, page: Page) -> None:
    test = json.loads((artifacts.parent / "hf_evaluations_test.json").read_text(encoding="utf-8"))
    rows = page.data["wrong"]["rows"]
    assert len(rows) == page.data["wrong"]["of"] > 3
    for row in rows:
        scores = test[row["idx"]]["model_scores"]
        assert scores[row["chosen"]] == 0
        assert row["right"] == [name for name, score in scores.items() if score == 1]
        assert len(row["pictures"]) == len(test[row["idx"]]["images"])
        assert all(uri.startswith("data:image/webp;base64,") and len(uri) < 5000 for uri in row["pictures"])
        assert len(row["prompt"]) == 300


def test_the_datas_health_is_told(page: Page) -> None:
    text = " ".join(" ".join(page.texts).split())
    assert "0 test records are in the training set too" in text
    assert re.search(r"\d+ × HTTP 500", text)
    assert "of the test prompts are farther from all training prompts" in text


def test_the_command_makes_the_same_page_and_one_without_prompts(artifacts: Path, page: Page, tmp_path: Path) -> None:
    folder = artifacts.parent
    files = [f"--{part}-json={folder / f'hf_evaluations_{part}.json'}" for part in ("train", "test")]
    files += [f"--test-embeddings={folder / 'hf_test_embeddings.npy'}", f"--artifacts={artifacts}"]
    report.main([*files, f"--output={tmp_path / 'again.html'}"])
    again = Page((tmp_path / "again.html").read_text(encoding="utf-8"))
    assert again.numbers == page.numbers
    assert {**again.data, "charts": None} == {**page.data, "charts": None}
    report.main([*files, "--without-prompts", f"--output={tmp_path / 'shown.html'}"])
    shown = (tmp_path / "shown.html").read_text(encoding="utf-8")
    assert "of kind" not in shown
    assert "data:image/webp" not in shown
    other = with_another_test(folder, tmp_path)
    with pytest.raises(DataError, match="not the file this router was assessed on"):
        report.main([files[0], f"--test-json={other[0]}", f"--test-embeddings={other[1]}", files[3]])


def test_more_is_measured_where_it_is_asked_for(
    artifacts: Path, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sum("Not measured here" in text for text in page.texts) == 2
    for name, value in {"CURVE_FOLDS": 2, "FRACTIONS": (0.5, 1.0), "MIN_ROWS": 20}.items():
        monkeypatch.setattr(learning_curve, name, value)
    folder = artifacts.parent
    files = [f"--{part}-json={folder / f'hf_evaluations_{part}.json'}" for part in ("train", "test")]
    files += [f"--{part}-embeddings={folder / f'hf_{part}_embeddings.npy'}" for part in ("train", "test")]
    more = ["--learning-curve", "--rewordings", "4", f"--output={tmp_path / 'more.html'}"]
    report.main([*files, f"--artifacts={artifacts}", *more])
    made, said = Page((tmp_path / "more.html").read_text(encoding="utf-8")), capsys.readouterr().out
    assert not any("Not measured here" in text for text in made.texts)
    assert {"learning-curve", "rewordings-chart"} <= set(made.data["charts"])
    for told in (*learning_curve.CURVE_HEADERS, *REWORDING_HEADERS, *RULES):
        assert told in made.texts
        assert told in said
    assert made.numbers == page.numbers


def with_another_test(folder: Path, target: Path) -> tuple[Path, Path]:
    """The training files, declared to be a test set."""
    metadata = json.loads((folder / METADATA_NAME).read_text(encoding="utf-8"))
    metadata["inputs"]["test"] = metadata["inputs"]["train"]
    write_json(target / METADATA_NAME, metadata)
    shutil.copy(folder / "hf_train_embeddings.npy", target)
    return folder / "hf_evaluations_train.json", target / "hf_train_embeddings.npy"


def test_the_searchs_trials_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn_router, "param_grid", {"hidden_dims": [[8], [16]], "learning_rate": [0.001, 0.01]})
    monkeypatch.setitem(nn_router.default_config, "epochs", 4)
    flags = ["--head", "mlp", "--tune", "--trials", "3", "--jobs", "1", "--baselines"]
    made = Page((trained(tmp_path, *flags) / report.REPORT_NAME).read_text(encoding="utf-8"))
    assert "trials" in made.data["charts"]
    assert "learning_rate" in made.texts
    trials = load_artifact(tmp_path / "router_artifacts" / "nn_router.pth").training.search
    assert len(trials) == 3
    assert trials[0]["best_loss"] == min(t["best_loss"] for t in trials)


def test_the_model_card_says_what_it_is(artifacts: Path) -> None:
    card = (artifacts / "README.md").read_text(encoding="utf-8")
    system = json.loads((artifacts / "metrics.json").read_text(encoding="utf-8"))["system"]
    for title in ("How to load it", "Data and labels", "How good it is", "Limits"):
        assert f"## {title}\n" in card
    assert f"| {system['router']:.3f} " in card
    assert "`quality`" in card
    assert "How long the recorded answers took" in card
    assert "| operating point latency " in card
    assert "backend `local`" in card
    assert "280 records: silver (as good for the request as a strong model's answer" in card
    assert load_artifact(artifacts / "nn_router.pth").training.label_sources == {"silver": 280}


def test_what_labels_rest_on_and_how_far_they_agree_stands_in_page_and_table(artifacts: Path, page: Page) -> None:
    metrics = json.loads((artifacts / "metrics.json").read_text(encoding="utf-8"))
    whole, one = metrics["labels"]["trust"]
    assert (whole["check"], whole["model"], one["model"]) == ("audit", "all models", MODELS[2])
    assert whole["cases"] == one["cases"] == 56
    assert "How far the labels can be trusted" in page.texts
    assert f"{one['agreement']:.1%}" in page.texts
    unchecked = metrics | {"labels": metrics["labels"] | {"trust": []}}
    assert "Nothing says how far these labels (silver) can be trusted" in accuracy_lines(unchecked)
