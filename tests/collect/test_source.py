"""Questions from any data set: formats, columns, images, samples, and every way a data set can be wrong."""

from __future__ import annotations

import base64
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from auto_router.collect.plan import make_plan
from auto_router.collect.question import Question
from auto_router.collect.source import Source
from auto_router.data.images import pixels
from auto_router.data.splits import content_key
from auto_router.errors import DataError
from tests.helpers import png
from tests.stage1 import write_rows


def load_questions(dataset: str, split: str = "train", columns: dict[str, str | None] | None = None) -> list[Question]:
    return list(Source(dataset, split=split, columns=columns or {}).questions())


RED, BLUE = png((255, 0, 0)), png((0, 0, 255))
ROWS: list[dict[str, Any]] = [
    {"prompt": "one?", "answer": "1", "source": "s", "group": "g"},
    {"prompt": "two?", "answer": "2", "source": "s", "group": "h"},
]
EXPECTED = [Question(0, "one?", ("1",), (), "s", "g"), Question(1, "two?", ("2",), (), "s", "h")]


def saved(folder: Path, kind: str) -> str:
    """The same two rows in one of the accepted forms."""
    import datasets

    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        write_rows(path, ROWS)
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(write_rows(folder / "plain", ROWS).read_bytes()))
    elif kind == "csv":
        datasets.Dataset.from_list(ROWS).to_csv(path)
    elif kind == "parquet":
        datasets.Dataset.from_list(ROWS).to_parquet(path)
    elif kind == "folder":
        datasets.Dataset.from_list(ROWS).save_to_disk(path)
    elif kind == "splits":
        other = datasets.Dataset.from_list([{"prompt": "x", "answer": "y"}])
        datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS), "other": other}).save_to_disk(path)
    elif kind == "parquets":
        path.mkdir()
        datasets.Dataset.from_list(ROWS).to_parquet(path / "train-00000-of-00001.parquet")
    return str(path)


@pytest.mark.parametrize("kind", ["jsonl", "json", "jsonl.gz", "csv", "parquet", "folder", "splits", "parquets"])
def test_every_form_gives_the_same_questions(tmp_path: Path, kind: str) -> None:
    assert load_questions(saved(tmp_path, kind)) == EXPECTED


def test_a_split_is_chosen_by_name(tmp_path: Path) -> None:
    dataset = saved(tmp_path, "splits")
    assert [question.prompt for question in load_questions(dataset, split="other")] == ["x"]
    with pytest.raises(DataError, match="no split 'test'; it has train, other: choose with --split"):
        load_questions(dataset, split="test")


def test_common_columns_are_found_and_others_are_named(tmp_path: Path) -> None:
    dataset = str(write_rows(tmp_path / "a.jsonl", [{"question": "q", "target": 72, "task": "t", "label": None, "junk": 1}]))
    # "label" is looked for before "target", but holds nothing.
    assert load_questions(dataset) == [Question(0, "q", ("72",), (), "t", content_key("q"))]
    assert load_questions(dataset, columns={"answer": "label", "source": None})[0].references == ()
    with pytest.raises(DataError, match=r"no column 'reply' for the answer; it has question, target, task, label, junk"):
        load_questions(dataset, columns={"answer": "reply"})


def test_the_prompt_column_is_not_taken_for_the_reference_as_well(tmp_path: Path) -> None:
    dataset = str(write_rows(tmp_path / "a.jsonl", [{"label": "q", "output": "r"}]))
    (question,) = load_questions(dataset, columns={"prompt": "label"})
    assert (question.prompt, question.answer) == ("q", "r")
    # Asked for by name, one column may serve twice.
    (question,) = load_questions(dataset, columns={"prompt": "label", "answer": "label"})
    assert (question.prompt, question.answer) == ("q", "q")


def test_an_empty_group_falls_back_to_the_content(tmp_path: Path) -> None:
    rows = [{"prompt": p, "answer": "1", "group": "", "source": ""} for p in ("a", "A ", "b")]
    questions = load_questions(str(write_rows(tmp_path / "a.jsonl", rows)))
    assert [question.group for question in questions] == [content_key("a"), content_key("a"), content_key("b")]
    assert {question.source for question in questions} == {None}


def test_a_sample_is_seeded_sorted_and_keeps_its_row_numbers(tmp_path: Path) -> None:
    dataset = str(write_rows(tmp_path / "a.jsonl", [{"prompt": f"p{i}", "answer": str(i)} for i in range(50)]))
    one, same, other = (make_plan(Source(dataset), 10, 0.2, seed) for seed in (0, 0, 1))
    numbers = one.rows.tolist()
    assert numbers == same.rows.tolist() != other.rows.tolist()
    assert numbers == sorted(set(numbers))
    assert len(one) == 10
    assert [question.prompt for question in one.questions()] == [f"p{number}" for number in numbers]
    assert len(make_plan(Source(dataset), 500, 0.2, 0)) == 50


def test_images_in_json_are_base64_or_data_uris(tmp_path: Path) -> None:
    text = base64.b64encode(RED).decode()
    rows = [
        {"prompt": "p", "answer": "a", "images": [text, f"data:image/png;base64,{text}"]},
        {"prompt": "q", "answer": "a", "images": []},
    ]
    questions = load_questions(str(write_rows(tmp_path / "a.jsonl", rows)))
    assert [question.images for question in questions] == [(RED, RED), ()]
    assert questions[0].group == content_key("p", [RED, RED])


@pytest.mark.parametrize("many", [False, True])
def test_images_of_an_image_column_keep_their_file(tmp_path: Path, many: bool) -> None:
    import datasets

    jpeg = io.BytesIO()
    Image.new("RGB", (9, 9), (9, 99, 199)).save(jpeg, "JPEG")
    cell = [{"bytes": jpeg.getvalue(), "path": None}, {"bytes": BLUE, "path": "x.png"}]
    rows = [{"prompt": "p", "answer": "a", "images": cell if many else cell[0]}, {"prompt": "q", "answer": "a", "images": None}]
    feature = datasets.List(datasets.Image()) if many else datasets.Image()
    features = datasets.Features(prompt=datasets.Value("string"), answer=datasets.Value("string"), images=feature)
    datasets.Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "d")
    first, second = load_questions(str(tmp_path / "d"))
    assert first.images == ((jpeg.getvalue(), BLUE) if many else (jpeg.getvalue(),))
    assert second.images == ()


def test_pil_images_put_into_a_data_set_come_back(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_dict(
        {"question": ["p"], "label": ["a"], "image": [Image.new("RGB", (4, 4), (1, 2, 3))]},
        features=datasets.Features(question=datasets.Value("string"), label=datasets.Value("string"), image=datasets.Image()),
    ).to_parquet(tmp_path / "a.parquet")
    (question,) = load_questions(str(tmp_path / "a.parquet"))
    assert pixels(question.images[0]).getpixel((0, 0)) == (1, 2, 3)


IMAGE_ERRORS = [
    ("cat.png", "only a path; .*--picture-folder"),
    ("https://example.com/cat.png", "is a URL, and nothing is fetched unasked; allow it with --allow-host example.com"),
    (base64.b64encode(RED[:40]).decode(), "cannot be decoded"),
    (base64.b64encode(b"no picture").decode(), "cannot be decoded"),
    ({"bytes": None, "path": "/etc/passwd"}, "only a path"),
]


@pytest.mark.parametrize(("image", "says"), IMAGE_ERRORS)
def test_a_bad_image_is_named_with_its_row_before_anything_is_asked(tmp_path: Path, image: Any, says: str) -> None:
    dataset = str(write_rows(tmp_path / "a.jsonl", [{"prompt": "p", "answer": "a", "images": [image]}]))
    with pytest.raises(DataError, match=f"row 0, images: .*{says}"):
        make_plan(Source(dataset), None, 0.2, 0)


DAMAGED_GZIP = gzip.compress(b"".join(b'{"n": %d}\n' % n**3 for n in range(2000)), mtime=0)[:300] + b"\xff" * 99


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.json", b"[]", "is empty"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"prompt,answer\n", "cannot be loaded|is empty"),
        ("a.jsonl", b"{", "cannot be loaded"),
        ("a.jsonl", b"[1]\n", "cannot be loaded|has no column"),
        ("a.parquet", b"PAR1", "cannot be loaded"),
        ("a.arrow", b"ARROW1", "cannot be loaded"),
        ("a.jsonl.gz", DAMAGED_GZIP, "cannot be loaded"),
        ("a.txt", b"prompt", r"unknown format; allowed are \.parquet, \.json, \.jsonl, \.csv, \.tsv, \.arrow"),
        ("a.gz", b"", "unknown format"),
        ("a.jsonl", b'{"blob": "p", "answer": "a"}', "for the prompt .*it has blob, answer: name one with --prompt-column"),
        ("a.jsonl", b'{"prompt": "p"}', "no column for the answer .*it has prompt: .*--answer-column"),
        ("a.jsonl", b'{"prompt": "p", "answer": ""}', "none of its 1 rows has a reference .*column 'answer' holds none"),
        ("a.jsonl", b'{"prompt": "p", "answer": "a"}\n{"prompt": null, "answer": "a"}', "row 1: column 'prompt' holds no"),
        ("a.jsonl", b'{"prompt": "  ", "answer": "a"}', "row 0: column 'prompt' holds no prompt"),
        ("a.jsonl", b'{"prompt": 7, "answer": "a"}', "row 0: column 'prompt' holds no prompt"),
    ],
)
def test_a_bad_data_set_is_one_error_that_names_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        make_plan(Source(str(tmp_path / name)), None, 0.2, 0)
    assert name in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("dataset", ["nobody/nothing", "", "a b?*", "."])
def test_a_data_set_that_is_not_there_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"cannot be loaded .*give a hub id, a save_to_disk folder or a local file"):
        load_questions(dataset)


@pytest.mark.parametrize("dataset", ["/no/such/file.jsonl", "none.csv", "path/to/dataset"])
def test_a_path_that_is_not_there_is_never_taken_for_a_hub_id(dataset: str) -> None:
    with pytest.raises(DataError, match="does not exist here, and is no hub id"):
        load_questions(dataset)


def test_a_damaged_folder_is_one_error(tmp_path: Path) -> None:
    folder = Path(saved(tmp_path, "folder"))
    (folder / "state.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be loaded"):
        load_questions(str(folder))
