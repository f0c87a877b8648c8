"""onnxruntime, imported so that it reports nothing: its recent Linux wheels send a device id and session events by default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

CUDA = "CUDAExecutionProvider"


def import_onnxruntime() -> Any:
    """Return the package; what it would send to its maker is switched off before it is loaded for the first time."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def open_session(path: Path, threads: int = 0) -> Any:
    """Open a model file, on CUDA where that is offered; ``threads``: cores one call may use, 0 leaves the choice to it."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # It would keep a block for every shape of a batch, and hardly two are alike.
    options.enable_mem_pattern = False
    # Threads that spin between calls take the cores from decoding, from the router and from everyone else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=providers())


def providers() -> list[str]:
    """Return where onnxruntime can compute here, the best first."""
    offered = import_onnxruntime().get_available_providers()
    return [name for name in (CUDA, "CPUExecutionProvider") if name in offered]
