"""ModelRouter around the decision: cache, micro-batches, threads, pickling, novelty, explanations, drift and feedback."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_router.arrays import Array
from auto_router.artifacts import Artifact, load_artifact, save_artifact
from auto_router.data.dataset import Prediction
from auto_router.decide.operating_points import OperatingPoint
from auto_router.decide.policy import RouterSettings, resolve_policy
from auto_router.decide.rule import Decision, decisions
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.errors import ConfigError, DataError
from auto_router.learn.novelty import fit_novelty
from auto_router.route.batching import MicroBatcher
from auto_router.route.encoder import RowCache, content_digest
from auto_router.route.explain import flips
from auto_router.route.feedback import load_feedback
from model_router import ModelRouter
from tests.fakes import NAMES, LetterEncoder, network
from tests.helpers import png


class CountingEncoder(LetterEncoder):
    """Notes the size of every call, takes ``delay`` seconds for it, and answers nobody while ``going`` is clear."""

    def __init__(self, delay: float = 0.0) -> None:
        self.calls: list[int] = []
        self.delay = delay
        self.going = threading.Event()
        self.going.set()

    def embed_texts(self, texts: list[str]) -> Array:
        self.calls.append(len(texts))
        time.sleep(self.delay)
        assert self.going.wait(60)
        return super().embed_texts(texts)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A router trained on texts alone: [1, 0, 0] and [0, 1, 0]."""
    rows = np.tile(np.eye(3, dtype=np.float32)[:2], (20, 1))
    labels = np.tile(np.array([[0.0, 1.0, 0.0], [1.0, 0.0, np.nan]], dtype=np.float32), (20, 1))
    novelty, _ = fit_novelty(rows, labels, np.arange(40), list(range(100, 140)), [f"prompt {i}" for i in range(40)])
    points = {"accuracy": OperatingPoint("", "small", margin=0.05)}
    generator = EmbeddingGenerator(LetterEncoder())
    save_artifact(
        tmp_path / "nn_router.pth",
        Artifact(network(3), NAMES, generator.spec, operating_points=points, novelty=novelty),
    )
    return tmp_path / "nn_router.pth"


def opened(path: Path, encoder: LetterEncoder | None = None, **options: Any) -> ModelRouter:
    return ModelRouter(path, encoder=EmbeddingGenerator(encoder or LetterEncoder()), device="cpu", **options)


def test_known_prompts_are_not_encoded_again(path: Path) -> None:
    encoder = CountingEncoder()
    router = opened(path, encoder)
    first = router.decide_batch(["a", "x", "xx"])
    assert router.decide_batch(["xx", "new", "a"]) == [first[2], router.decide("new"), first[0]]
    assert encoder.calls == [3, 1]
    uncached = CountingEncoder()
    again = opened(path, uncached, cache_bytes=0)
    assert [again.decide("a"), again.decide("a")] == [first[0]] * 2
    assert uncached.calls == [1, 1]
    with pytest.raises(ConfigError, match="cache_bytes"):
        opened(path, cache_bytes=-1)


def test_the_cache_keeps_to_its_bytes_and_forgets_the_longest_unused() -> None:
    encoder = CountingEncoder()
    cache = RowCache(EmbeddingGenerator(encoder), 3 * (4 * 3 + 200))
    for text in ("1", "2", "3", "1", "4"):
        cache.rows([text], None)
    assert cache.held <= cache.max_bytes
    assert len(encoder.calls) == 4
    cache.rows(["1", "3", "4"], None)
    assert len(encoder.calls) == 4
    cache.rows(["2"], None)
    assert len(encoder.calls) == 5
    assert (cache.hits, cache.misses) == (4, 5)


def test_what_is_not_the_same_has_another_digest() -> None:
    digests = [
        content_digest(text, images)
        for text, images in [
            ("a", None), ("ab", None), ("a", ["b"]), ("a", [b"b"]), ("a", ["b", "c"]), ("a", ["bc"]), ("\ud800", []),
        ]
    ]  # fmt: skip
    assert len(set(digests)) == len(digests)
    assert content_digest("a", ()) == content_digest("a", None)
    assert content_digest("a", [Path("f.png")]) is None


def test_errors_name_the_callers_own_rows_whatever_is_cached(path: Path) -> None:
    router = opened(path)
    router.decide("a")
    with pytest.raises(DataError, match="picture 0"):
        router.decide_batch(["a", "b"], [None, ["no picture"]])
    with pytest.raises(DataError, match="must be a list"):
        router.decide("a", "no list")


def test_concurrent_callers_share_batches_and_get_their_own_answers(path: Path) -> None:
    encoder = CountingEncoder()
    texts = [f"{'a' if i % 3 else 'x'}{i}" for i in range(60)]
    with opened(path, encoder) as router:
        expected = opened(path).decide_batch(texts)

        async def ask() -> Sequence[Decision]:
            encoder.going.clear()
            asked = [asyncio.ensure_future(router.adecide(text)) for text in texts]
            await asyncio.sleep(0)  # now all wait
            encoder.going.set()
            return await asyncio.gather(*asked)

        assert list(asyncio.run(ask())) == expected
        assert len(encoder.calls) <= 4, "two batches, in the encoder's own batches of 32"
        assert asyncio.run(router.aroute("another")) == expected[1].model


def test_the_loop_goes_on_while_the_encoder_works(path: Path) -> None:
    async def asked_while_the_loop_ticks() -> str:
        encoder.going.clear()
        asked = asyncio.ensure_future(router.adecide("a"))
        for _ in range(5):
            await asyncio.sleep(0.01)
        assert not asked.done()
        encoder.going.set()  # a loop that the decision blocks never comes here
        return (await asked).model

    encoder = CountingEncoder()
    with opened(path, encoder) as router:
        assert asyncio.run(asked_while_the_loop_ticks()) == router.route("a")


def test_one_callers_error_is_not_anothers(path: Path) -> None:
    async def ask() -> list[Any]:
        questions: list[Any] = [
            ("a", None, None),
            ("b", ["no picture"], None),
            ("c", None, ["nobody"]),
            ("x", [png((1, 1, 1))], ["big"]),
            (None, None, None),
        ]
        return await asyncio.gather(*(router.adecide(*question) for question in questions), return_exceptions=True)

    with opened(path, CountingEncoder(delay=0.01), guard_unfamiliar=False) as router:
        good, bad, unknown, limited, mistaken = asyncio.run(ask())
    assert good.model == "mid"
    assert isinstance(bad, DataError)
    assert isinstance(mistaken, DataError)
    assert isinstance(unknown, ConfigError)
    assert limited.ranking == ("big",)


def test_a_bug_in_the_work_reaches_all_who_wait_and_the_worker_lives_on() -> None:
    def work(items: list[int]) -> list[int]:
        return [1 // item for item in items]

    batches: MicroBatcher[int, int] = MicroBatcher(work)
    with pytest.raises(ZeroDivisionError):
        batches.submit(0).result(timeout=10)
    assert batches.submit(1).result(timeout=10) == 1
    batches.close()
    batches.close()


def test_who_comes_late_can_tell_how_long_it_will_take() -> None:
    going = threading.Event()

    def work(items: list[int]) -> list[int]:
        time.sleep(0.05)
        assert going.wait(60)
        return items

    batches: MicroBatcher[int, int] = MicroBatcher(work, max_batch=1)
    assert batches.expected_wait() == 0
    going.set()
    for item in range(5):
        batches.submit(item).result(timeout=10)
    going.clear()
    waiting = [batches.submit(item) for item in range(11)]
    assert batches.expected_wait() > 10 * 0.05 / 2  # a mean of five that began at nothing
    assert batches.finished <= 5
    going.set()
    assert [future.result(timeout=10) for future in waiting] == list(range(11))
    batches.close()
    assert batches.finished == 16
    assert batches.expected_wait() == 0


def test_a_caller_who_gives_up_disturbs_nobody(path: Path) -> None:
    async def ask() -> Decision:
        given_up = [asyncio.ensure_future(router.adecide(f"x{i}")) for i in range(5)]
        await asyncio.sleep(0.01)
        for task in given_up:
            task.cancel()
        return await router.adecide("a")

    with opened(path, CountingEncoder(delay=0.05)) as router:
        assert asyncio.run(ask()).model == "mid"


def test_a_closed_router_says_so(path: Path) -> None:
    with opened(path) as router:
        router.warm_up()
        assert router.route("a") == "mid"
    with pytest.raises(ConfigError, match="closed"):
        router.decide("a")
    with pytest.raises(ConfigError, match="closed"):
        asyncio.run(router.adecide("a"))
    router.close()


def test_threads_decide_as_one_does(path: Path) -> None:
    router = opened(path, cache_bytes=2000)
    texts = [f"{'a' if i % 2 else 'x'}{i % 40}" for i in range(400)]
    expected = [opened(path).decide(text) for text in texts[:40]]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(router.decide, texts))
    assert all(decision == expected[i % 40] for i, decision in enumerate(found))


def test_pickling_opens_again_or_says_why_not(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be pickled"):
        pickle.dumps(opened(path))
    from auto_router.encode.local import LocalEncoder

    generator = EmbeddingGenerator(LocalEncoder())
    save_artifact(tmp_path / "local.pth", Artifact(network(generator.dim), NAMES, generator.spec))
    router = ModelRouter(tmp_path / "local.pth", model_thresholds={"big": 0.95}, device="cpu", threads=1)
    copy = pickle.loads(pickle.dumps(router))  # noqa: S301
    assert copy.decide("hello") == router.decide("hello")
    assert copy.decide("hello").qualified == ("mid", "small")
    with pytest.raises(ConfigError, match="threads"):
        ModelRouter(tmp_path / "local.pth", threads=0)


def test_decisions_are_timed_and_told(path: Path) -> None:
    told: list[Decision] = []
    router = opened(path, CountingEncoder(delay=0.5), on_decision=told.append)
    made = router.decide("a")
    assert told == [made]
    assert set(made.timings) == {"encoder", "heads", "decision"}
    assert made.timings["encoder"] >= 0.5 > made.timings["heads"] > 0
    assert made.timings["decision"] > 0


def test_what_was_never_seen_goes_to_the_guarded_default(path: Path) -> None:
    router, picture = opened(path), [png((1, 1, 1))]
    familiar, strange = router.decide("a"), router.decide("a", picture)
    assert familiar.novelty is not None
    assert strange.novelty is not None
    assert familiar.novelty <= 1 < strange.novelty
    assert (familiar.model, strange.model, strange.reason) == ("mid", "small", "unfamiliar")
    assert strange.ranking == ("small", "mid", "big")
    assert router.decide("a", picture, models=["big", "mid"]).model == "mid", "the default may not take it"
    assert opened(path, guard_unfamiliar=False).decide("a", picture).model == "mid"


def test_a_language_that_training_had_not_goes_there_too(path: Path) -> None:
    artifact = load_artifact(path)
    assert artifact.novelty is not None
    save_artifact(path, replace(artifact, novelty=replace(artifact.novelty, languages=("en",))))
    router = opened(path)
    prompts = ["at which of the towns was he then?", "aus welcher der Städte kam er damals, und warum?", "a = b(c) + d"]
    assert [made.reason == "unfamiliar" for made in router.decide_batch(prompts)] == [False, True, False]
    assert router.decide(prompts[1]).novelty == router.decide(prompts[1]).novelty, "known prompts are looked at, too"
    assert router.decide(prompts[1]).model == "small"


def test_an_explanation_shows_neighbours_with_their_outcomes(path: Path) -> None:
    router = opened(path)
    found = router.explain(router.decide("a"), count=3)
    assert len(found.neighbours) == 3
    for neighbour in found.neighbours:
        assert neighbour.idx % 2 == 0
        assert neighbour.outcomes == {"big": 0.0, "mid": 1.0, "small": 0.0}
        assert neighbour.prompt == f"prompt {neighbour.idx - 100}"
    assert router.explain(router.decide("x")).neighbours[0].outcomes["small"] is None


grid = st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9])


@given(
    st.lists(grid, min_size=3, max_size=3), st.one_of(st.none(), st.lists(grid, min_size=3, max_size=3)),
    st.one_of(st.none(), st.lists(grid, min_size=3, max_size=3)), st.booleans(),
)  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_a_flip_is_where_the_choice_flips(
    p: list[float], thresholds: list[float] | None, costs: list[float] | None, point: bool
) -> None:
    """Moved a little beyond the stated value the choice is the stated model; moved a little less far it is not."""
    limits, prices = (None if values is None else dict(zip(NAMES, values, strict=True)) for values in (thresholds, costs))
    points = {"accuracy": OperatingPoint("", "big", 0.07), "balanced": OperatingPoint("", "big", 0.07, 0.1)} if point else {}
    if costs is not None and thresholds is None and not points:
        return
    given: dict[str, Any] = {"model_thresholds": limits, "model_costs": prices}
    settled = RouterSettings.of(given | {"operating_point": "balanced" if point else None})
    policy, row = resolve_policy(NAMES, points, settled), Prediction(np.array([p]))
    decision = decisions(policy.choose(row), row, NAMES, policy.costs)[0]
    table = {"threshold": "thresholds", "cost": "costs", "price": "penalties"}

    def chosen(**changes: Any) -> str:
        return NAMES[int(replace(policy, **changes).choose(row).chosen[0])]

    for flip in flips(decision, policy, NAMES):
        assert flip.model != decision.model
        if abs(flip.at - flip.now) < 2e-3:
            continue
        for step, expected in ((2e-6, flip.model), (-1e-3, decision.model)):
            now = getattr(policy, table[flip.setting])
            values = np.zeros(3) if now is None else now.copy()
            values[NAMES.index(flip.of)] = flip.at + step * (1 if flip.at >= flip.now else -1)
            assert chosen(**{table[flip.setting]: values}) == expected


def test_drift_is_reported_against_training(tmp_path: Path, path: Path) -> None:
    import torch

    content = torch.load(path, weights_only=True)
    reference = {
        "probability": {"big": 0.9, "mid": 0.8, "small": 0.9}, "spread": dict.fromkeys(NAMES, 0.1), "unfamiliar": 0.01,
    }  # fmt: skip
    torch.save(content | {"training": {"reference": reference}}, tmp_path / "known.pth")
    router = opened(tmp_path / "known.pth", drift_window=50)
    assert router.drift_report().decisions == 0
    router.decide_batch(["a"] * 100)
    router.decide_batch(["x"] * 40, [[png((1, 1, 1))]] * 40)
    report = router.drift_report()
    assert report.decisions == 50
    assert report.unfamiliar == 0.8
    assert report.chosen["small"] == 0.8
    assert report.reasons["unfamiliar"] == 0.8
    assert [alarm.split(" is ")[0] for alarm in report.alarms[:1]] == ["mean P(correct) of small"]
    assert "80.0% of the prompts" in report.alarms[-1]
    assert "mean P(correct)" in report.table()
    calm = opened(tmp_path / "known.pth")
    calm.decide_batch(["x"] * 3)
    assert [alarm for alarm in calm.drift_report().alarms if "big" in alarm or "unlike" in alarm] == []


def test_feedback_is_kept_without_the_prompt_and_read_again(path: Path, tmp_path: Path) -> None:
    router, file = opened(path), tmp_path / "deep" / "feedback.jsonl"
    made = router.decide_batch(["a secret", "x secret", "x more"])
    threads = [threading.Thread(target=router.record, args=(d, 1.0, file)) for d in made for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    router.record(made[0], 0, file)
    assert "secret" not in file.read_text()
    spec = router.encoder.spec
    found = load_feedback(file, NAMES, spec, 3)
    assert found.features.shape == (16, 3)
    assert (found.features.sum(axis=0) == [6, 10, 0]).all()
    assert np.nansum(found.labels) == 15
    assert (~np.isnan(found.labels)).sum(axis=0).tolist() == [10, 6, 0]
    assert sorted(set(found.weights.tolist())) == [0.6, 1.0]
    with pytest.raises(DataError, match="another encoder"):
        load_feedback(file, NAMES, spec | {"backend": "other"}, 3)
    file.write_text(file.read_text() + json.dumps({"model": "big"}) + "\n")
    with pytest.raises(DataError, match="line 17 is damaged"):
        load_feedback(file, NAMES, spec, 3)
    for outcome in (2, -1, float("nan"), "yes"):
        with pytest.raises(ConfigError, match="outcome must be"):
            router.record(made[0], outcome, file)  # type: ignore[arg-type]
