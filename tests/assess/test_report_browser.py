"""The report in a real browser: it draws, stays at home, obeys mouse and keyboard, and decides as the router does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import check_site
import numpy as np
import pytest
import yaml
from playwright.sync_api import Browser, Page, sync_playwright

from auto_router.artifacts import Artifact, load_artifact
from auto_router.assess import test_set
from auto_router.assess.assessment import measure_decisions
from auto_router.assess.metrics import GroupBootstrap
from auto_router.data.dataset import load_dataset
from auto_router.decide.policy import RouterSettings, resolve_policy
from tests.assess.reports import trained

pytestmark = pytest.mark.slow

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        # Containers have a small /dev/shm, and no user that Chromium's sandbox could use.
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("hostile"), "--baselines", "ridge") / "report.html"


class Visit:
    """One page, opened, with what it said and asked for."""

    def __init__(self, browser: Browser, path: Path, width: int = 1280, scheme: Any = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-drawn]", timeout=30_000)

    def number(self, name: str) -> float:
        return float(self.page.get_attribute(f"#{name}", "data-value") or "nan")

    def shares(self) -> list[float]:
        return [float(node.get_attribute("data-value") or "nan") for node in self.page.query_selector_all(".share")]

    def settle(self) -> None:
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def assert_quiet(self, path: Path) -> None:
        assert not [line for line in self.said if line.startswith(("error", "warning"))], self.said
        assert {url for url in self.asked if not url.startswith("data:")} == {path.as_uri()}


@pytest.fixture(scope="module")
def report(demo: tuple[Path, str]) -> Path:
    return demo[0] / "router_artifacts" / "report.html"


@pytest.fixture(scope="module")
def assessed(demo: tuple[Path, str]) -> tuple[Artifact, test_set.TestSet]:
    """The demo's artifact and test rows, for Python to decide on."""
    artifact, folder = load_artifact(demo[0] / "router_artifacts" / "nn_router.pth"), demo[0] / "demo"
    names, facts = artifact.model_names, artifact.facts
    data = load_dataset(folder / "hf_test_embeddings.npy", "test", folder / "hf_evaluations_test.json", names, facts)
    policy = resolve_policy(names, artifact.operating_points, RouterSettings())
    return artifact, test_set.TestSet.of(data, artifact.predict(data.features), policy)


def assert_shown(visit: Visit, assessed: tuple[Artifact, test_set.TestSet], **settings: Any) -> None:
    """The page shows what Python makes of these settings of ModelRouter."""
    artifact, test = assessed
    best = artifact.model_names.index(artifact.training.metrics["system"]["best_single_model"])
    policy = resolve_policy(test.names, artifact.operating_points, RouterSettings(**settings))
    chosen = policy.choose(test.prediction, test.eligible).chosen
    expected = measure_decisions(test, chosen, best, GroupBootstrap(test.groups, 0))
    visit.settle()
    assert visit.number("x-accuracy") == pytest.approx(expected["accuracy"])
    assert visit.number("x-cost") == pytest.approx(1000 * expected["cost"], rel=1e-5)
    assert visit.number("x-share") == pytest.approx(expected["cost_share"], rel=1e-5)
    assert visit.shares() == pytest.approx(list(expected["selection"].values()))
    assert visit.page.inner_text("#x-accuracy") == f"{100 * expected['accuracy']:.1f}%"
    assert eval_call(visit.page.inner_text("#code-python")) == settings
    objective = yaml.safe_load(visit.page.inner_text("#code-yaml"))["functions"]["nn_objective_fn"]
    assert {name: value for name, value in objective.items() if name != "_type"} == settings


def eval_call(code: str) -> dict[str, Any]:
    """Run the copied code with a stand-in for ModelRouter, and return what that was given."""
    given: dict[str, Any] = {}
    lines = code.replace("from auto_router import ModelRouter", "")
    exec(lines, {"ModelRouter": lambda path, **settings: given.update(settings)})
    return given


def test_the_explorer_obeys_mouse_and_keyboard_and_shows_what_python_computes(
    browser: Browser, report: Path, assessed: tuple[Artifact, test_set.TestSet]
) -> None:
    visit, (artifact, test) = Visit(browser, report), assessed
    page, names = visit.page, artifact.model_names
    metrics = artifact.training.metrics
    assert visit.number("x-accuracy") == pytest.approx(metrics["system"]["router"])
    assert visit.number("x-cost") == pytest.approx(1000 * metrics["system"]["costs"]["router"], rel=1e-5)
    for name in artifact.operating_points:
        page.get_by_role("button", name=name, exact=True).click()
        assert_shown(visit, assessed, operating_point=name)
        assert visit.number("x-accuracy") == pytest.approx(metrics["operating_points"][name]["accuracy"])
    page.get_by_role("button", name="cheapest with P ≥ 0.5").click()
    costs = dict(zip(names, (1000 * test.mean_costs).tolist(), strict=True))
    thresholds = dict.fromkeys(names, 0.5)
    assert_shown(visit, assessed, model_thresholds=thresholds, model_costs=costs)

    slider = page.get_by_label(f"threshold of {names[0]}, slider")
    slider.focus()
    page.keyboard.press("Home")
    for _ in range(63):
        page.keyboard.press("ArrowRight")
    thresholds[names[0]] = 0.63
    assert_shown(visit, assessed, model_thresholds=thresholds, model_costs=costs)

    slider = page.get_by_label(f"threshold of {names[-1]}, slider")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    thresholds[names[-1]] = float(slider.input_value())
    assert 0.7 < thresholds[names[-1]] < 0.9
    assert_shown(visit, assessed, model_thresholds=thresholds, model_costs=costs)

    page.get_by_label("Fallback where none qualifies").select_option(names[1])
    assert_shown(visit, assessed, model_thresholds=thresholds, model_costs=costs, fallback_model=names[1])
    page.get_by_label("Prompts a month", exact=True).fill("2000")
    page.keyboard.press("Tab")
    visit.settle()
    assert visit.number("x-month") == pytest.approx(2 * visit.number("x-cost"))
    visit.assert_quiet(report)
    visit.context.close()


def test_prices_of_ones_own_count_in_the_decision_and_in_the_bill(
    browser: Browser, report: Path, assessed: tuple[Artifact, test_set.TestSet]
) -> None:
    visit, (artifact, test) = Visit(browser, report), assessed
    names = artifact.model_names
    visit.page.get_by_role("button", name="cheapest with P ≥ 0.5").click()
    dear = int(np.argmax(test.mean_costs))
    visit.page.get_by_label(f"USD / 1,000 of {names[dear]}", exact=True).fill("0")
    visit.page.keyboard.press("Tab")
    visit.settle()
    costs = dict(zip(names, (1000 * test.mean_costs).tolist(), strict=True)) | {names[dear]: 0.0}
    settings = RouterSettings(model_thresholds=dict.fromkeys(names, 0.5), model_costs=costs)
    policy = resolve_policy(names, artifact.operating_points, settings)
    chosen = policy.choose(test.prediction, test.eligible).chosen
    assert visit.shares() == pytest.approx((np.bincount(chosen, minlength=len(names)) / len(chosen)).tolist())
    # The demo's costs are recorded answer by answer: those of the other models stay what they were.
    paid = np.where(chosen == dear, 0.0, test.cost(chosen).astype(np.float64))
    assert visit.number("x-cost") == pytest.approx(1000 * float(np.nanmean(paid)), rel=1e-5)
    visit.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_hostile_texts_stay_texts_and_the_page_fits(browser: Browser, hostile: Path, width: int, scheme: str) -> None:
    visit = Visit(browser, hostile, width, scheme)
    visit.assert_quiet(hostile)
    assert visit.page.evaluate("window.broken") is None
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert visit.page.locator("#wrong-table img").count() > 0
    before = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    visit.page.click("#theme")
    assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    visit.context.close()


def test_wrongly_routed_prompts_can_be_searched_and_turned_over(browser: Browser, hostile: Path) -> None:
    visit = Visit(browser, hostile)
    page, rows = visit.page, visit.page.locator("#wrong-table tbody tr")
    assert rows.count() == 10
    first = rows.first.inner_text()
    page.click("#after")
    assert rows.first.inner_text() != first
    page.fill("#find", "prompt 1 ")
    page.fill("#find", "no such words")
    assert rows.count() == 0
    assert page.inner_text("#place") == "none"
    visit.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(browser: Browser, report: Path, scheme: str) -> None:
    """No serious or critical finding of axe-core, with every part of the page open."""
    visit = Visit(browser, report, scheme=scheme)
    visit.page.evaluate("document.querySelectorAll('details').forEach(node => { node.open = true; })")
    visit.page.evaluate(AXE)
    found = json.loads(visit.page.evaluate("axe.run().then(result => JSON.stringify(result.violations))"))
    bad = [(v["id"], v["impact"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("serious", "critical")]
    assert not bad
    visit.context.close()


def test_the_check_of_the_site_sees_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        "<html><body><h1>x</h1><p style='width:600px'>wide</p><script>no()</script></body></html>"
    )
    with check_site.serve_folder(tmp_path) as address:
        said = "\n".join(check_site.check_page(browser, f"{address}/page.html", "phone", tmp_path / "seen" / "page.png"))
    for fault in ("script error", "wider than the window by", "document-title (serious", "html-has-lang (serious"):
        assert fault in said
    assert (tmp_path / "seen" / "page.png").stat().st_size > 0
