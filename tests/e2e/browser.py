"""Debian's Chromium without a window: what a person sees of the status page, and what it complains about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
PHONE, DESKTOP = (390, 844), (1280, 900)


@dataclass
class View:
    """One open page."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    """What stands in the browser's console: errors, warnings, what the page's policy has refused."""

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def headline(self) -> str:
        return self.text("#verdict")

    def violations(self) -> list[str]:
        """What the accessibility rules of WCAG 2.1 (A, AA) and good practice say against the page."""
        found: list[dict[str, Any]] = Axe().run(self.page).response["violations"]
        return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]

    def width_beyond_the_window(self) -> int:
        """By so much the page has to be moved sideways to be read."""
        beyond: int = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return beyond

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, full_page=True)


@contextmanager
def started() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Tests run as root in containers, where Chromium's own sandbox cannot be set up.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, url: str, size: tuple[int, int] = DESKTOP, scheme: str = "light", **context: Any
) -> Iterator[View]:
    """A page in a browser that has never been there."""
    width, height = size
    fresh = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **context)
    page = fresh.new_page()
    view = View(page)
    page.on("console", lambda message: view.complaints.append(message.text))
    page.on("pageerror", lambda error: view.complaints.append(str(error)))
    page.goto(url)
    page.wait_for_load_state("networkidle")
    yield view
    fresh.close()
