"""A tiny CLIP with random weights, as a folder that open_clip opens; and open_clip beside a CPU build of torch."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

MODEL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def open_clip() -> Any:
    """Import open_clip. The registry's torchvision has its operators for CUDA builds only: declare what it looks for."""
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        globals()["_library"] = library  # it must live as long as the process
    return importlib.import_module("open_clip")


def write_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write ``open_clip_config.json`` and weights drawn by ``seed``."""
    import torch

    clip = open_clip()
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": {"size": 32}}))
    torch.manual_seed(seed)
    model = clip.model.CLIP(MODEL["embed_dim"], MODEL["vision_cfg"], MODEL["text_cfg"])
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder
