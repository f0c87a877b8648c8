"""At least 200 generated hostile or odd images: each is encoded or a DataError; none crashes, hangs or takes much memory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.checkout import ROOT


@pytest.mark.slow
def test_generated_images_are_encoded_or_refused() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.image_storm", "7", "240"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    outcomes = found["outcomes"]
    assert sum(outcomes.values()) == 240
    assert not [name for name in outcomes if "without" in name]
    assert outcomes["odd: encoded"] >= 60
    assert outcomes["damaged: DataError"] >= 20
    assert outcomes["bomb: DataError"] >= 10
    assert found["grew_mib"] < 500
