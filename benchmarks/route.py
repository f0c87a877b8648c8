"""How long a decision takes: features, heads and rule apart, beside the bare encoder.

    OMP_NUM_THREADS=1 python benchmarks/route.py [--repeats 200] [--batches 1 8 64 1024] [--json FILE] [--check]

The default router is trained on ``combined5`` once and kept in the cache folder. For each batch size, prompts of that set are
decided: *features* (of the prompt), *heads* (network, calibration, novelty, costs) and *decision* (eligibility and rule),
with the encoder's vectors at hand; *total* is the last two. What looks at the prompts' language is in none of these, and in all
that follow. Rows with images come as in the set (37 %). Text prompts, cut to 100 characters, are also decided from end to end,
with the embedding cache *cold* and *warm*, beside the *bare encoder*; *cold over* is a decision beyond its own encoder call. At
last 64 callers of ``adecide`` work through prompts, beside ``decide_batch`` on the same ones.

Targets (``--check`` exits 1 where one is missed): a decision apart from its encoder call at most 1 ms (p50) and at most 5 % of
the encoder's time; at the largest batch at least 30,000 rows/s; ``adecide`` at least 0.9 x ``decide_batch``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from recorded import LAYOUT, DataSet

from auto_router.arrays import Array
from auto_router.artifacts import Artifact, save_artifact
from auto_router.data.dataset import Prediction
from auto_router.data.prompt_features import FEATURE_NAMES, append_prompt_features
from auto_router.data.records import load_records
from auto_router.data.request import Request
from auto_router.decide.operating_points import fit_operating_points
from auto_router.decide.rule import decisions
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.factory import open_encoder
from auto_router.encode.local import cache_folder
from auto_router.errors import run
from auto_router.files import write_json
from auto_router.learn.calibration import fit_calibration
from auto_router.learn.cost_model import fit_costs
from auto_router.learn.novelty import fit_novelty
from auto_router.learn.stack_fit import fit_stack
from auto_router.route.router import ModelRouter

Figures = dict[str, float]
Samples = dict[str, list[float]]
CALLERS = 64
ROUNDS = 5  # over all batch sizes: a machine that others share changes its speed from one second to the next
CUT = 100  # characters of a prompt that is encoded


def default_artifact(folder: Path) -> Path:
    """Return the default router of combined5, trained where it is not in the cache."""
    path = cache_folder() / "benchmarks" / "combined5-router-v11.pth"
    if not path.exists():
        data = DataSet.load(folder)
        x, y = data.rows.astype(np.float32), data.y.astype(np.float32)
        fitted = fit_stack(x, y, data.groups, LAYOUT)
        calibration = fit_calibration(fitted.out_of_fold, y, data.groups, 0)
        out_of_fold = calibration(fitted.out_of_fold)
        costs = None if data.costs is None else fit_costs(x, data.costs, data.groups)
        cost_model, expected = (None, None) if costs is None else costs
        prompts = [record.prompt for record in load_records(folder / "data.json.gz")]
        detector, novelty = fit_novelty(x, y, data.groups, list(range(len(y))), texts=prompts, prompt_dim=LAYOUT.prompt_dim)
        points = fit_operating_points(Prediction(out_of_fold, novelty, expected), y, data.costs, data.groups, data.names)
        artifact = Artifact(
            fitted.network, tuple(data.names), open_encoder("local").spec, calibration=calibration, operating_points=points,
            prompt_features=FEATURE_NAMES, novelty=detector, cost_model=cost_model,
        )  # fmt: skip
        save_artifact(path, artifact)
    return path


def measure_seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def spread(values: Sequence[float]) -> Figures:
    return {"p50": 1e6 * float(np.median(values)), "p99": 1e6 * float(np.percentile(values, 99))}


def heads_seconds(router: ModelRouter, plain: Array, texts: list[str], size: int, repeats: int, found: Samples) -> None:
    """Time everything but the encoder on ``size`` prompts of the set."""
    rng, artifact, eligibility = np.random.default_rng(len(found["total"])), router._artifact, router._eligibility
    parts = [rng.permutation(len(texts))[:size] for _ in range(repeats)]
    for part in parts:
        rows, some = plain[part], [texts[i] for i in part.tolist()]
        pictured: list[bool] = np.any(rows[:, LAYOUT.text_dim :], axis=1).tolist()
        requests = [Request(text, unseen_images=int(one)) for text, one in zip(some, pictured, strict=True)]
        clock = [time.perf_counter()]
        inputs = append_prompt_features(rows, some)
        clock.append(time.perf_counter())
        prediction = artifact.predict(inputs)
        clock.append(time.perf_counter())
        choices = router.policy.choose(prediction, eligibility.eligible(requests).models)
        decisions(choices, prediction, router.model_names, router.policy.costs, inputs)
        clock.append(time.perf_counter())
        for name, seconds in zip(found, np.diff(clock).tolist(), strict=False):
            found[name].append(seconds)
        found["total"].append(clock[-1] - clock[1])


class TimedGenerator(EmbeddingGenerator):
    """Counts the seconds of its own work."""

    seconds = 0.0

    def embed_batch(self, *arguments: Any, **named: Any) -> Array:
        start = time.perf_counter()
        found = super().embed_batch(*arguments, **named)
        self.seconds += time.perf_counter() - start
        return found


def end_to_end(path: Path, texts: list[str], size: int, repeats: int) -> dict[str, Figures]:
    """Time ``decide_batch`` cold and warm beside the bare encoder on the same prompts."""
    bare, encoder = open_encoder("local"), TimedGenerator(open_encoder("local").encoder)
    router = ModelRouter(path, encoder=encoder)
    router.warm_up()
    bare.embed("warm up")
    found: Samples = {name: [] for name in ("bare encoder", "cold", "cold over", "warm")}
    rng = np.random.default_rng(size)
    for turn in range(repeats):
        some = [f"{texts[i][:CUT]} {turn}" for i in rng.permutation(len(texts))[:size].tolist()]
        order = [("bare encoder", lambda: bare.embed_batch(some)), ("cold", lambda: router.decide_batch(some))]  # noqa: B023
        for name, work in order if turn % 2 else order[::-1]:
            found[name].append(measure_seconds(work))
        start, encoder.seconds = time.perf_counter(), 0.0
        router.decide_batch([f"{text} again" for text in some])
        found["cold over"].append(time.perf_counter() - start - encoder.seconds)
        found["warm"].append(measure_seconds(lambda: router.decide_batch(some)))  # noqa: B023
    return {name: spread(values) for name, values in found.items()}


def throughput(path: Path, texts: list[str], rounds: int) -> Figures:
    """Return prompts a second of 64 concurrent callers, and of ``decide_batch`` on batches of 64, without a cache."""
    some = [f"{texts[i % len(texts)]} {i}" for i in range(CALLERS * rounds)]

    async def callers(router: ModelRouter) -> None:
        async def caller(number: int) -> None:
            for text in some[number::CALLERS]:
                await router.adecide(text)

        await asyncio.gather(*(caller(number) for number in range(CALLERS)))

    with ModelRouter(path, cache_bytes=0) as router:
        router.warm_up()
        best: Figures = {"adecide": 0.0, "decide_batch": 0.0}
        for _ in range(3):
            batches = [some[start : start + CALLERS] for start in range(0, len(some), CALLERS)]
            whole = measure_seconds(lambda: [router.decide_batch(batch) for batch in batches])  # noqa: B023
            gathered = measure_seconds(lambda: asyncio.run(callers(router)))
            best = {"adecide": max(best["adecide"], len(some) / gathered),
                    "decide_batch": max(best["decide_batch"], len(some) / whole)}  # fmt: skip
    return best


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Features, heads and decision apart, beside the bare encoder.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 64, 1024])
    parser.add_argument("--repeats", type=int, default=200, help="turns of a round at batch 1; larger batches take fewer")
    parser.add_argument("--most-encoded", type=int, default=64, help="largest batch that is really encoded (default 64)")
    parser.add_argument("--rounds", type=int, default=4, help="prompts of each of the 64 callers (default 4)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args(argv)
    folder = arguments.data / "combined5"
    path, records, data = default_artifact(folder), load_records(folder / "data.json.gz"), DataSet.load(folder)
    texts, router, short = [record.prompt for record in records], ModelRouter(default_artifact(folder)), []
    sizes = arguments.batches
    samples: dict[int, Samples] = {n: {name: [] for name in ("features", "heads", "decision", "total")} for n in sizes}
    for size in sizes * ROUNDS:
        heads_seconds(router, data.plain, texts, size, max(arguments.repeats // max(size // 4, 1), 15), samples[size])
    found: dict[str, Any] = {str(n): {name: spread(times) for name, times in parts.items()} for n, parts in samples.items()}
    plain_texts = [record.prompt for record in records if not record.images]
    for size in (n for n in sizes if n <= arguments.most_encoded):
        found[str(size)] |= end_to_end(path, plain_texts, size, max(arguments.repeats // (4 * size), 5))
    table = [[size, name, f["p50"], f["p99"]] for size, parts in found.items() for name, f in parts.items()]
    print(tabulate(table, headers=["batch", "part", "p50 µs", "p99 µs"], floatfmt=".0f"))
    first, last = found[str(sizes[0])], found[str(sizes[-1])]
    rate = sizes[-1] / last["total"]["p50"] * 1e6
    print(f"\nbatches of {sizes[-1]}: {rate:,.0f} rows/s (p50; target 30,000)")
    if rate < 30_000:
        short.append(f"rows a second in batches of {sizes[-1]}")
    if "cold over" in first:
        over = first["cold over"]["p50"]
        share = over / first["bare encoder"]["p50"]
        print(f"a decision beyond its encoder call: {over:.0f} µs (p50; target 1,000), {share:.1%} of the encoder (target 5 %)")
        if over > 1000 or share > 0.05:
            short.append("a decision apart from the encoder")
    if arguments.rounds:
        found["throughput"] = speeds = throughput(path, plain_texts, arguments.rounds)
        share = speeds["adecide"] / speeds["decide_batch"]
        print(f"64 callers: {speeds['adecide']:.0f}/s, decide_batch {speeds['decide_batch']:.0f}/s: {share:.2f} (target 0.9)")
        if share < 0.9:
            short.append("throughput of adecide")
    if arguments.json:
        write_json(arguments.json, found)
    if arguments.check and short:
        print(f"short of target: {', '.join(short)}")
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(run(main))
