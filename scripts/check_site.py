"""Look at every page of the docs site, and at reports, in a browser: axe-core, what lies beside the window, and errors.

    make site-check                                                            # the site that make docs made
    python scripts/check_site.py build/site router_artifacts/report.html      # a folder's pages, and single ones
    python scripts/check_site.py build/site --screenshots build/screenshots   # keep what was seen

Each page is opened as on a desktop, in the light, and as on a phone, in the dark, with every part of it open. Exit 1 where
axe-core finds anything, the page is wider than the window, or its scripts fail. It needs Chromium.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.sync_api import Browser, sync_playwright

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZES: dict[str, tuple[int, int, Any]] = {"desktop": (1280, 900, "light"), "phone": (390, 844, "dark")}
OPEN_ALL = "document.querySelectorAll('main details').forEach(part => { part.open = true; })"
RUN_AXE = "axe.run().then(found => JSON.stringify(found.violations))"
WIDER = "document.documentElement.scrollWidth - window.innerWidth"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not told."""


@contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback; yields its address. The site's search does not work from files."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def check_page(browser: Browser, address: str, size: str, screenshot: Path | None = None) -> list[str]:
    """Return what is wrong with a page at one of ``SIZES``, a line each."""
    width, height, scheme = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True)
    page, said = context.new_page(), list[str]()
    page.on("pageerror", lambda error: said.append(f"script error: {error}"))
    page.goto(address, wait_until="load")
    page.evaluate(OPEN_ALL)
    page.wait_for_timeout(300)  # what scripts and transitions still change
    if (beside := int(page.evaluate(WIDER))) > 0:
        said.append(f"wider than the window by {beside} pixels")
    if screenshot is not None:
        screenshot.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=screenshot, full_page=True)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for found in json.loads(page.evaluate(RUN_AXE)):
        first = found["nodes"][0]
        said.append(f"{found['id']} ({found['impact']}, {len(found['nodes'])}): {found['help']}: {first['html'][:160]}")
    context.close()
    return said


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path, help="folders of pages, or single .html files")
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER", help="write a PNG of each page and size")
    arguments = parser.parse_args(argv)
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise SystemExit(f"error: none of {', '.join(BROWSERS)} is installed; on Debian: apt-get install chromium")
    wrong = looked = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        for given in arguments.pages:
            folder = given if given.is_dir() else given.parent
            pages = sorted(given.rglob("*.html")) if given.is_dir() else [given]
            if not all(page.is_file() for page in pages) or not pages:
                raise SystemExit(f"error: there is no page at {given}; make docs makes the site, make demo a report")
            with serve_folder(folder) as address:
                for page in pages:
                    name = page.relative_to(folder).as_posix()
                    for size in SIZES:
                        picture = arguments.screenshots and arguments.screenshots / f"{name.removesuffix('.html')}-{size}.png"
                        said = check_page(browser, f"{address}/{name}", size, picture)
                        looked, wrong = looked + 1, wrong + bool(said)
                        print("\n  ".join([f"{'WRONG' if said else 'ok':<6} {name}, {size}", *said]), flush=True)
        browser.close()
    if wrong:
        sys.exit(f"error: {wrong} of {looked} views have faults")
    print(f"{looked} views, nothing found")


if __name__ == "__main__":
    main()
