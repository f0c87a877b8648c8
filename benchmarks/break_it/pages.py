"""The pages that the project writes, with markup in every field, opened in Chromium: report, audit page and model card.

Nothing of a stranger may run, and nothing may be asked for but the page itself. The docs site holds no words of strangers.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from break_it.commands import run_command
from break_it.endpoints import write_inputs
from break_it.hostile import HostileServer, completion, encode
from break_it.tally import Tally
from tests.assess.reports import trained

if TYPE_CHECKING:
    from playwright.sync_api import Dialog, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MARKUP = [
    '</script><img src=x onerror="window.broken=1"><script>window.broken=1</script>',
    '"><svg/onload=window.broken=1>',
    "' onmouseover='window.broken=1' x='",
    "<iframe src='http://127.0.0.1:9/'></iframe>",
    "<link rel=stylesheet href=//127.0.0.1:9/x>",
    "<style>*{background:url(http://127.0.0.1:9/x)}</style>",
    "[x](javascript:window.broken=1)",
    "![x](http://127.0.0.1:9/x.png)",
    "<!--",
    "-->",
    "<![CDATA[",
    "{{7*7}}",
    "{% raw %}",
    "${window.broken=1}",
    "&lt;script&gt;",
    "\u2028window.broken=1//",
    "\\u003cscript>window.broken=1</script>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "<base href=http://127.0.0.1:9/>",
    "</textarea></title></style>",
    "<form action=http://127.0.0.1:9/><input autofocus onfocus=window.broken=1>",
    "<a href='//127.0.0.1:9' ping='http://127.0.0.1:9/'>",
    "| a | b |\n|---|---|\n# head",
]
TOUCH_ALL = """() => {
    for (const part of document.querySelectorAll('details')) part.open = true;
    for (const part of document.querySelectorAll('input, select, textarea'))
        part.dispatchEvent(new Event('input', {bubbles: true}));
    for (const part of [...document.querySelectorAll('button, summary, label, td, th, svg *')].slice(0, 400)) {
        part.dispatchEvent(new MouseEvent('mouseover', {bubbles: true}));
        if (part.click) part.click();
    }
}"""


def write_audit(folder: Path) -> Path:
    """Run Stage 1 with markup in prompts, references, answers, names and reasons; return its audit page."""
    texts = iter(MARKUP * 1000)
    rows = [{"prompt": f"{text} {n}", "answer": text, "category": text, "images": []} for n, text in enumerate(MARKUP)]
    with HostileServer(lambda asked: asked.reply(encode(completion(f"{next(texts)} so says", finish="stop")))) as server:
        models = [{"name": name, "base_url": f"{server.url}/v1", "model": "m"} for name in (MARKUP[0][:60], "plain")]
        arguments = write_inputs(folder, models, 1, judge={"name": "judge", "base_url": f"{server.url}/v1"})
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        ended = run_command("prepare_hf_data", [*arguments, "--skip-preflight", "--audit", "200"], 120.0)
    found = sorted((folder / "out").glob("*audit*.html"))
    if not found:
        raise AssertionError(f"no audit page: {ended.output}")
    return found[0]


def render_card(card: Path) -> Path:
    """Render a model card as a host does that lets HTML through: what is not escaped would run."""
    from markdown_it import MarkdownIt

    page = card.with_name("card.html")
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(card.read_text(encoding="utf-8"))
    page.write_text(f"<!doctype html><meta charset=utf-8>{body}", encoding="utf-8")
    return page


def attack(tally: Tally, seconds: float, seed: int) -> None:
    random.seed(seed)
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        tally.notes.append(f"nothing is tried: none of {', '.join(BROWSERS)} is installed")
        return
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        folder = Path(place)
        for name in ("audit", "stage3"):
            (folder / name).mkdir()
        artifacts = trained(folder / "stage3", "--baselines", "ridge")
        cards = sorted(artifacts.glob("*.md"))
        pages = {"report": artifacts / "report.html", "audit page": write_audit(folder / "audit")}
        pages |= {f"model card {card.name}": render_card(card) for card in cards}
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        for name, page_file in pages.items():
            _visit(tally, browser.new_page(), name, page_file)
        browser.close()


def _visit(tally: Tally, page: Page, name: str, file: Path) -> None:
    asked, said = list[str](), list[str]()

    def hear(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", hear)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri(), timeout=60_000)
    page.wait_for_timeout(1500)
    page.evaluate(TOUCH_ALL)
    page.wait_for_timeout(500)
    ran = page.evaluate("() => window.broken === 1 || document.querySelectorAll('iframe, base, object, embed').length > 0")
    tally.note(name, "executed" if ran else "right result", f"markup ran in {file.name}")
    places = [url[:100] for url in asked if url != file.as_uri() and not url.startswith(("data:", "blob:"))]
    tally.note(name, "sent" if places else "right result", f"{file.name} asked for {places[:3]}")
    tally.note(name, "crash" if said else "right result", f"{file.name} says {said[:3]}")
    tally.note(name, "right result" if page.inner_text("body").strip() else "lost", f"{file.name} is empty")
