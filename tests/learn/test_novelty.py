"""What is unfamiliar: as often as it says on new rows like those of training, and no alarm for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from auto_router.data.dataset import Prediction
from auto_router.data.prompt_features import FEATURE_NAMES, LANGUAGE_FEATURES
from auto_router.decide.rule import choose
from auto_router.errors import ConfigError
from auto_router.learn.novelty import ALPHA, SHORT_HISTORY, NoveltyDetector, fit_novelty, history_novelty
from auto_router.route.drift import DriftMonitor

Floats = npt.NDArray[np.float32]
NAMES = [f"model {j}" for j in range(12)]


def embeddings(count: int, seed: int, shift: float = 0.0) -> Floats:
    """Rows of a few topics in 48 dimensions; ``shift`` moves them where no training row was."""
    rng = np.random.default_rng(seed)
    topics = np.random.default_rng(0).normal(size=(8, 48))
    rows = topics[rng.integers(0, 8, count)] + 0.5 * rng.normal(size=(count, 48))
    rows[:, 0] += shift
    return rows.astype(np.float32)


def fitted(count: int, seed: int) -> tuple[NoveltyDetector, Floats]:
    rows = embeddings(count, seed)
    return fit_novelty(rows, np.zeros((count, 2)), np.arange(count), list(range(count)), seed=seed)


@pytest.mark.parametrize("count", [100, 300, 1500])
def test_new_rows_like_those_of_training_are_called_unfamiliar_as_often_as_said(count: int) -> None:
    found, rates = [], []
    for seed in range(12):
        detector, out_of_fold = fitted(count, seed)
        found.append(float((detector.novelty(embeddings(1000, 100 + seed)) > 1).mean()))
        rates.append(detector.rate)
        assert abs((out_of_fold > 1).mean() - detector.rate) < 0.006
    assert rates == pytest.approx([ALPHA] * 12)
    assert 0.005 <= np.mean(found) <= 0.025


FORM = len(FEATURE_NAMES)
CODE = [FEATURE_NAMES.index(name) for name in ("lines", "code", "underscores", "parentheses")]


def with_form(rows: Floats, seed: int, shift: float = 0.0) -> Floats:
    """The rows with prompt features behind them; ``shift`` makes them look like code."""
    form = np.random.default_rng(seed).normal(3.0, 0.5, size=(len(rows), FORM))
    form[:, CODE] += shift
    return np.concatenate([rows, form], axis=1, dtype=np.float32)


def fitted_with_form(count: int, seed: int) -> NoveltyDetector:
    rows = with_form(embeddings(count, seed), seed)
    return fit_novelty(rows, np.zeros((count, 2)), np.arange(count), list(range(count)), seed=seed, prompt_dim=FORM)[0]


@pytest.mark.parametrize("count", [100, 300, 1500])
def test_prompts_of_a_form_that_training_had_not_are_unfamiliar(count: int) -> None:
    """Their embeddings are like those of training, and without features nothing would be seen."""
    rates, flagged, unseen = [], [], []
    for seed in range(12):
        detector, new = fitted_with_form(count, seed), embeddings(1000, 100 + seed)
        rates.append(float((detector.novelty(with_form(new, 200 + seed)) > 1).mean()))
        flagged.append(float((detector.novelty(with_form(new, 200 + seed, shift=3.0)) > 1).mean()))
        unseen.append(float((fitted(count, seed)[0].novelty(new) > 1).mean()))
    assert 0.005 <= np.mean(rates) <= 0.025
    assert min(flagged) > 0.5
    assert np.mean(unseen) < 0.025


def test_one_wild_feature_counts_no_more_than_one_that_is_clearly_unlike() -> None:
    detector, new = fitted_with_form(300, 0), with_form(embeddings(200, 100), 200)
    new[:, -1] = 3.0  # as in the middle of training
    unlike, wild = new.copy(), new.copy()
    unlike[:, -1], wild[:, -1] = 6.0, 1e6
    assert detector.novelty(wild) == pytest.approx(detector.novelty(unlike), rel=1e-4)
    assert detector.novelty(unlike).mean() > 1.05 * detector.novelty(new).mean()


def test_how_a_language_is_written_makes_no_prompt_novel() -> None:
    detector, new = fitted_with_form(300, 0), with_form(embeddings(200, 100), 200)
    other = new.copy()
    other[:, [48 + FEATURE_NAMES.index(name) for name in LANGUAGE_FEATURES]] += 5.0
    assert (detector.novelty(other) == detector.novelty(new)).all()


def test_a_feature_that_training_never_varied_is_not_magnified() -> None:
    rows = with_form(embeddings(300, 0), 0)
    rows[:, -1] = 2.0
    detector, _ = fit_novelty(rows, np.zeros((300, 2)), np.arange(300), list(range(300)), prompt_dim=FORM)
    new = rows[:50].copy()
    new[:, -1] += 0.1
    assert not (detector.novelty(new) > 1).any()


def test_the_nearest_are_alike_in_form_too() -> None:
    rows = with_form(np.repeat(embeddings(20, 0), 2, axis=0), 0)
    rows[::2, -FORM:], rows[1::2, -FORM:] = 1.0, 5.0
    detector, _ = fit_novelty(rows, np.zeros((40, 2)), np.arange(40), list(range(40)), prompt_dim=FORM)
    for row in range(40):
        assert detector.nearest(rows[row], 1)[0][0] == row


def test_features_are_stored_and_a_detector_without_them_leaves_them_alone() -> None:
    detector, new = fitted_with_form(300, 0), with_form(embeddings(200, 100), 200, shift=1.0)
    plain = detector.to_plain()
    again = NoveltyDetector.from_plain(plain, 48, 2, FORM)
    assert again is not None
    assert again.novelty(new) == pytest.approx(detector.novelty(new), rel=2e-3)
    older = NoveltyDetector.from_plain({k: v for k, v in plain.items() if k not in ("form", "forms", "reach")}, 48, 2, FORM)
    assert older is not None
    assert (older.novelty(new) == older.novelty(new[:, :48])).all()
    with pytest.raises(ConfigError, match="form"):
        NoveltyDetector.from_plain(plain, 48, 2, FORM + 1)
    with pytest.raises(ConfigError, match="form"):
        NoveltyDetector.from_plain(plain | {"forms": plain["forms"][:, 1:]}, 48, 2, FORM)
    with pytest.raises(ConfigError, match="damaged"):
        NoveltyDetector.from_plain(plain | {"reach": float("nan")}, 48, 2, FORM)


def test_few_rows_say_how_little_they_can_tell() -> None:
    """Of n distances the highest is the most that a limit can be: 1 in n + 1 new rows is beyond it."""
    assert fitted(20, 0)[0].rate == pytest.approx(1 / 21)


def test_rows_of_one_group_do_not_make_each_other_familiar() -> None:
    """Each row four times: what is unfamiliar is told by the distance to other rows."""
    once = embeddings(200, 0)
    rows, groups = np.repeat(once, 4, axis=0), np.repeat(np.arange(200), 4)
    detector, _ = fit_novelty(rows, np.zeros((800, 2)), groups, list(range(800)))
    assert (detector.novelty(embeddings(1000, 5)) > 1).mean() < 0.05


def test_one_group_and_twins_alone_still_make_a_detector() -> None:
    rows = embeddings(30, 0)
    detector, out_of_fold = fit_novelty(rows, np.zeros((30, 2)), np.zeros(30, dtype=np.int64), list(range(30)))
    assert np.isnan(out_of_fold).all()
    assert not (out_of_fold > 1).any()
    assert np.isfinite(detector.novelty(rows)).all()
    twins, far = fit_novelty(np.repeat(rows[:1], 30, axis=0), np.zeros((30, 2)), np.arange(30), list(range(30)))
    assert twins.limit > 0
    assert not (far > 1).any()


def test_its_rate_is_stored_and_older_artifacts_have_one() -> None:
    detector, _ = fitted(40, 0)
    plain = detector.to_plain()
    again = NoveltyDetector.from_plain(plain, 48, 2)
    assert again is not None
    assert again.rate == detector.rate
    older = NoveltyDetector.from_plain({name: value for name, value in plain.items() if name != "rate"}, 48, 2)
    assert older is not None
    assert older.rate == ALPHA
    with pytest.raises(ConfigError, match="damaged"):
        NoveltyDetector.from_plain(plain | {"rate": float("nan")}, 48, 2)


TALK = {
    "en": "What is the name of the town that they were in, and why?",
    "de": "Wie heißt die Stadt, in der sie waren, und warum nicht eine andere?",
    "fr": "Quel est le nom de la ville où ils étaient, et pourquoi ?",
    "ru": "Как называется город, в котором они были?",
    "": "x = [1, 2]",
}


def talk(*languages: str) -> list[str]:
    return [TALK[language] for language in languages]


def novel_languages(spoken: list[str]) -> tuple[list[str], NoveltyDetector]:
    """The languages that a router of these rows calls novel; all prompts have the vector of a familiar row."""
    rows = embeddings(len(spoken), 0)
    groups, numbers = np.arange(len(spoken)), list(range(len(spoken)))
    detector, _ = fit_novelty(rows, np.zeros((len(spoken), 2)), groups, numbers, texts=talk(*spoken))
    found = detector.novelty(np.repeat(rows[:1], len(TALK), axis=0), list(TALK.values())) > 1
    assert not (detector.novelty(rows[:1]) > 1).any(), "without prompts their language is not looked at"
    return [language for language, novel in zip(TALK, found, strict=True) if novel], detector


def test_languages_that_training_had_are_familiar_and_others_are_not() -> None:
    assert novel_languages(["en"] * 60)[0] == ["de", "fr", "ru"]
    assert novel_languages(["en"] * 60 + ["de"] * 30)[0] == ["fr", "ru"]
    assert novel_languages(["en", "ru", "fr", "de"] * 20)[0] == []
    assert novel_languages(["", "en"] * 30)[0] == ["de", "fr", "ru"], "code has no language"
    assert novel_languages([""] * 60)[0] == [], "nothing is known of the languages of a training set of code alone"


def test_a_few_strays_make_no_language_familiar_and_count_among_the_novel() -> None:
    novel, detector = novel_languages(["en"] * 598 + ["fr"] * 2)
    assert novel == ["de", "fr", "ru"]
    assert detector.languages == ("en",)
    assert 0.011 < detector.rate < 0.0135
    assert novel_languages(["en"] * 2000 + ["fr"] * 9)[0] == ["de", "fr", "ru"], "fewer than half of what may be novel"
    assert novel_languages(["en"] * 300 + ["fr"] * 4)[0] == ["de", "ru"]


def test_its_own_rows_are_told_by_the_other_folds_language_included() -> None:
    rows, spoken = embeddings(300, 0), ["en"] * 298 + ["ru"] * 2
    detector, far = fit_novelty(rows, np.zeros((300, 2)), np.arange(300), list(range(300)), texts=talk(*spoken))
    assert (far[298:] > 1).all()
    assert abs((far > 1).mean() - detector.rate) < 0.006
    again = NoveltyDetector.from_plain(detector.to_plain(), 48, 2)
    assert again is not None
    assert again.languages == ("en",)
    older = NoveltyDetector.from_plain({k: v for k, v in detector.to_plain().items() if k != "languages"}, 48, 2)
    assert older is not None
    assert older.languages == ()
    with pytest.raises(ConfigError, match="languages"):
        NoveltyDetector.from_plain(detector.to_plain() | {"languages": [3]}, 48, 2)


def test_what_the_encoder_knows_is_familiar_too() -> None:
    rows, texts = embeddings(60, 0), talk(*["en"] * 60)

    def languages(*known: str) -> tuple[str, ...]:
        numbers = list(range(60))
        return fit_novelty(rows, np.zeros((60, 2)), np.arange(60), numbers, texts=texts, languages=known)[0].languages

    assert languages("fr", "ru") == ("en", "fr", "ru")
    assert languages("any") == (), "nothing is foreign to it"


def reported(seed: int, shift: float = 0.0, decisions: int = 300) -> list[str]:
    """The alarms after as many decisions of a router that learned 300 rows."""
    rng = np.random.default_rng(1000 + seed)
    detector, _ = fitted(300, seed)
    trained = rng.beta(6, 4, size=(300, len(NAMES)))
    reference: dict[str, Any] = {
        "probability": dict(zip(NAMES, trained.mean(axis=0).tolist(), strict=True)),
        "spread": dict(zip(NAMES, trained.std(axis=0).tolist(), strict=True)),
        "unfamiliar": detector.rate,
        "groups": 300,
    }
    monitor = DriftMonitor(NAMES, reference, decisions)
    p = rng.beta(6, 4 + shift, size=(decisions, len(NAMES)))
    monitor.add(choose(p), Prediction(p, detector.novelty(embeddings(decisions, 500 + seed, shift))))
    return monitor.report().alarms


def test_normal_traffic_raises_no_alarm_and_shifted_traffic_does() -> None:
    assert [alarm for seed in range(20) for alarm in reported(seed)] == []
    for seed in range(5):
        alarms = reported(seed, shift=4.0)
        assert any("are unlike those of training" in alarm for alarm in alarms)
        assert any("mean P(correct)" in alarm for alarm in alarms)


def test_the_longer_the_conversation_before_it_the_less_familiar_a_prompt_is() -> None:
    found = history_novelty([0.0, SHORT_HISTORY, 2 * SHORT_HISTORY, 32 * SHORT_HISTORY])
    assert found == pytest.approx([1.0, 1.0, 1.1, 1.5])
