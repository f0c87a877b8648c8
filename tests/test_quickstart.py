"""The quickstart's prompts: what is committed is what the scripts make, and the pictures show what the answers say."""

from __future__ import annotations

import base64
import io
import json
import random
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import demo
import numpy as np
import pytest
from drawing import HARDEST, canvas, harder
from make_prompts import PICTURE_SKILLS, TEXT_SKILLS, make_prompts
from PIL import Image
from prompt_record import Prompt
from scipy.ndimage import label

from auto_router.collect.matching.verdict import match
from auto_router.collect.replay import load_recording
from auto_router.data.pool import load_pool
from auto_router.errors import MissingExtraError
from tests.checkout import ROOT

QUICKSTART = ROOT / "examples" / "quickstart"


@cache
def committed() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (QUICKSTART / "prompts.jsonl").open(encoding="utf-8")]


def of_source(source: str) -> list[dict[str, Any]]:
    return [row for row in committed() if row["source"] == source]


def pixels_of(encoded: str) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"), dtype=np.int16)


def test_there_are_enough_prompts_and_the_folder_is_small() -> None:
    assert len(committed()) >= 600
    assert sum("images" in row for row in committed()) >= 200
    listed = [path for path in QUICKSTART.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in listed) < 8_000_000


@pytest.mark.slow
def test_the_committed_prompts_are_what_the_scripts_make() -> None:
    made: list[Prompt] = [*make_prompts(0, TEXT_SKILLS), *make_prompts(0, PICTURE_SKILLS)]
    assert [(p.prompt, p.answer, p.source, p.group) for p in made] == [
        (row["prompt"], row["answer"], row["source"], row["group"]) for row in committed()
    ]
    for prompt, row in zip(made, committed(), strict=True):
        assert len(prompt.images) == len(row.get("images", []))
        for mine, theirs in zip(prompt.images, row.get("images", []), strict=True):
            drawn, kept = pixels_of(mine), pixels_of(theirs)
            # Another release of the drawing libraries may smooth an edge otherwise.
            assert drawn.shape == kept.shape
            assert np.abs(drawn - kept).mean() < 2, row["prompt"]


def test_another_seed_makes_other_pictures() -> None:
    quick = PICTURE_SKILLS[:4]  # the charts take longer
    first, other = (make_prompts(seed, quick) for seed in (0, 1))
    assert len({p.images for p in first} & {p.images for p in other}) < len(first) / 10


@pytest.mark.parametrize("row", [row for row in committed() if "images" in row][::10], ids=lambda row: str(row["group"]))
def test_answers_to_pictures_can_be_decided_without_a_judge(row: dict[str, Any]) -> None:
    assert match(row["answer"], row["answer"]) is True
    assert match("I do not know", row["answer"]) is not True


def test_counted_shapes_are_in_the_picture() -> None:
    rows = [row for row in of_source("picture_count") if row["prompt"].startswith("How many shapes are in this picture?")]
    assert len(rows) >= 5
    for row in rows:
        image = pixels_of(row["images"][0])
        _, found = label(np.abs(image - image[0, 0]).sum(axis=2) > 60)
        assert found == int(row["answer"])


def test_yes_and_no_and_the_letters_are_balanced() -> None:
    positions = Counter(row["answer"] for row in of_source("picture_position"))
    assert min(positions["yes"], positions["no"]) >= 3
    assert max(Counter(row["answer"] for row in of_source("picture_drawing")).values()) <= 8


def test_harder_pictures_are_further_from_the_original_and_unknown_degrees_are_refused() -> None:
    image, pen = canvas(200, 100)
    pen.rectangle((60, 30, 140, 70), fill=(0, 0, 0))
    assert harder(image, random.Random(0), 0) is image
    easy, hardest = (np.asarray(harder(image, random.Random(0), degree)) for degree in (1, HARDEST))
    assert int(hardest.max()) - int(hardest.min()) < int(easy.max()) - int(easy.min())
    assert hardest.shape[0] < easy.shape[0]
    with pytest.raises(ValueError, match="from 0 to 3"):
        harder(image, random.Random(0), 4)


def test_every_candidate_has_recorded_answers_to_what_it_can_take() -> None:
    pool = load_pool(QUICKSTART / "pool.yaml")
    seeing = [model for model in pool.models if "image" in model.modalities]
    assert len(seeing) == 2
    pictures = sum("images" in row for row in committed())
    expected = len(pool.models) * (len(committed()) - pictures) + len(seeing) * pictures
    # An endpoint may fail on a prompt; it may not fail on many.
    assert expected * 0.98 <= len(load_recording(QUICKSTART / "recording.jsonl.gz")) <= expected


def test_a_missing_extra_is_named_before_the_first_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda package: None if package == "jinja2" else package)
    monkeypatch.setattr(demo, "stage", lambda *_: pytest.fail("a stage ran"))
    with pytest.raises(MissingExtraError, match=r"jinja2.*\[collect,train,images\]"):
        demo.main(["--output-dir", str(tmp_path)])
