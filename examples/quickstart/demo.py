"""The whole path in one command, without a key, a GPU or a model hub.

    make demo        (or: auto-router demo [--output-dir demo])

Real answers of small local models, one of which takes pictures, were recorded (``recording.jsonl.gz``). A replay
server on loopback gives them again over HTTP, and the four stages run exactly as they would against paid endpoints:
collect, encode, train, route. The pictures that are routed are held out: no stage before has trained on them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tabulate import tabulate

from auto_router.artifacts import load_artifact
from auto_router.assess.headline import describe_worth
from auto_router.collect.replay import ReplayServer, load_recording
from auto_router.data.images import image_bytes
from auto_router.data.pool import load_pool
from auto_router.data.records import Record, load_records
from auto_router.decide.rule import Decision
from auto_router.errors import needs_extra
from auto_router.files import atomic_path
from auto_router.route.router import ModelRouter
from auto_router.terminal import Parser

THRESHOLD = 0.6
EXTRAS = "collect,train,images"
NEEDED = ("datasets", "openai", "jinja2", "torch", "sklearn", "matplotlib", "bokeh", "efficientnet_lite_pytorch", "onnx")
WIDTH = 56  # letters of a prompt that are shown
# Of the five in pool.yaml. None of these can do all: the best at text sees nothing, and the one that sees is weak at text, so a
# router has something to win. With viewer-1.5b, which is that best text model with eyes, no other is safely as good on 600
# labels: the router asks it everything, and says so.
MODELS = ("smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "reader-0.5b")
HERE = Path(__file__).resolve().parent
PROMPTS = [
    "Calculate 17 + 25. Answer with just the number.",
    "Calculate 38 * 47 - 219. Answer with just the number.",
    "What is the capital of Portugal? Answer with one word.",
    "What does this Python code print?\n```python\nprint(sorted([3, 1, 2])[-1])\n```\nAnswer with the output only.",
    "Reverse the word 'lantern'. Reply with the result only.",
    "All cats are animals. Tom is a cat. Is Tom an animal? Answer yes or no.",
]
NEXT = (
    '-m auto_router route "a prompt of yours"',
    "-m auto_router init --output my_pool.yaml",
    "-m auto_router collect --dataset YOUR_FILE --pool my_pool.yaml --dry-run",
)
EXAMPLES = """examples:
  auto-router demo
  auto-router demo --output-dir demo --artifacts router_artifacts
  auto-router demo --artifacts other_artifacts    keep the router that is there"""
PICTURES = ("picture_word", "picture_table", "picture_bar_chart", "picture_count", "picture_drawing")


def from_here(path: Path) -> Path:
    """Return a file's path from the current folder where it is below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def stage(title: str, script: str, *flags: str | Path) -> None:
    """Run one stage as a user would, showing its command; end the demo with the stage's exit code if it fails."""
    command = [str(part) for part in (from_here(ROOT / script), *flags)]
    print(f"\n== {title}\n$ python {' '.join(command)}", flush=True)
    done = subprocess.run([sys.executable, *command], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def held_out_pictures(test_json: Path) -> list[Record]:
    """The first test record of each source in ``PICTURES``, in that order."""
    records = load_records(test_json)
    first = (next((record for record in records if record.source == source), None) for source in PICTURES)
    return [record for record in first if record is not None]


def decision_row(prompt: str, decision: Decision) -> list[str]:
    """The prompt, in short, the chosen model, and how likely it is right."""
    return [textwrap.shorten(prompt, WIDTH, placeholder="…"), decision.model, f"{decision.probabilities[decision.model]:.3f}"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        description="Collect (recorded answers), encode, train and route: the whole path in one command.", epilog=EXAMPLES
    )
    parser.add_argument("--output-dir", type=Path, default=Path("demo"), help="evaluation JSONs and embeddings (demo)")
    parser.add_argument("--artifacts", type=Path, default=Path("router_artifacts"))
    arguments = parser.parse_args(argv)
    with needs_extra(EXTRAS):  # before the first stage, whose script would end in a traceback
        for package in NEEDED:
            if find_spec(package) is None:
                raise ModuleNotFoundError(name=package)
    out, artifacts, pool = arguments.output_dir, arguments.artifacts, from_here(HERE / "pool.yaml")
    jsons = ["--train-json", out / "hf_evaluations_train.json", "--test-json", out / "hf_evaluations_test.json"]
    start = time.perf_counter()
    with ReplayServer(load_recording(HERE / "recording.jsonl.gz")) as server:
        stage(
            "Stage 1: ask four models over HTTP (recorded answers), judge them",
            "prepare_hf_data.py", "--dataset", from_here(HERE / "prompts.jsonl"), "--pool", pool, "--match-only",
            "--models", *MODELS, "--base-url", server.url, "--output-dir", out,
        )  # fmt: skip
    stage("Stage 2: encode prompts and pictures", "generate_embeddings.py", *jsons, "--output-dir", out)
    embeddings = ["--train-embeddings", out / "hf_train_embeddings.npy", "--test-embeddings", out / "hf_test_embeddings.npy"]
    stage("Stage 3: train and assess", "nn_router.py", *embeddings, *jsons, "--pool", pool, "--output-dir", artifacts)
    print(f"\n== Stage 4: route each prompt to the cheapest model with P(correct) of at least {THRESHOLD}")
    models = load_pool(pool).subset(list(MODELS)).models
    router = ModelRouter(
        artifacts / "nn_router.pth",
        model_thresholds={model.name: THRESHOLD for model in models},
        model_costs={model.name: model.output_usd_per_mtok or 0.0 for model in models},
    )
    rows = [decision_row(prompt, decision) for prompt, decision in zip(PROMPTS, router.decide_batch(PROMPTS), strict=True)]
    shown = held_out_pictures(out / "hf_evaluations_test.json")
    decided = router.decide_batch([record.prompt for record in shown], [record.images for record in shown])
    for record, decision in zip(shown, decided, strict=True):
        with atomic_path(out / f"{record.source}.png") as temporary:
            temporary.write_bytes(image_bytes(record.images[0]))
        score = record.model_scores[decision.model]
        outcome = "unknown" if score is None else "right" if score else "wrong"
        rows.append([*decision_row(f"[{record.source}.png] {record.prompt}", decision), outcome])
    print(tabulate(rows, headers=["prompt", "goes to", "P(correct)", "recorded answer"], disable_numparse=True))
    print(f"The pictures lie in {out}; training has not seen them.")
    print(f"\ndone in {time.perf_counter() - start:.0f} s. {describe_worth(load_artifact(artifacts / 'nn_router.pth'))}")
    print("\nnext:", *(f"{os.path.relpath(sys.executable)} {command}" for command in NEXT), sep="\n  ")


if __name__ == "__main__":
    main()
