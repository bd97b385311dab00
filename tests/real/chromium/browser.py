"""Debian's chromium, headless, driven through chromedriver: what a person at the dashboard sees and does.

It reaches this machine only, and its clock stands far from UTC: a page that fetches from elsewhere, or writes the
browser's local time, is found out.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

Theme = Literal["light", "dark"]
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")
WAIT_S: Final = 45.0
"""How long a page may take on a busy machine. What is asserted about speed is the benchmarks' business."""
TIMEZONE: Final = "America/Los_Angeles"
_POLL_S: Final = 0.05
_SETTLED: Final = """
    const [deadline_ms, done] = arguments;
    const missing = () => {
        const app = document.querySelector('[data-testid="stApp"]');
        const main = document.querySelector('[data-testid="stMain"]');
        if (!app || !main || !main.innerText.trim()) return 'anything at all';
        if (app.dataset.testScriptState !== 'notRunning') return 'the end of the script';
        if (main.querySelector('[data-testid="stSkeleton"], [data-testid="stSpinner"]')) return 'a part';
        // a chart on a tab that is not shown is drawn when it is
        const charts = [...main.querySelectorAll('[data-testid="stVegaLiteChart"]')].filter(c => c.offsetParent);
        return charts.some(chart => !chart.querySelector('canvas, svg')) ? 'a chart' : '';
    };
    const began = performance.now();
    let [text, since] = ['', began];
    const look = () => {
        let lacks = missing();
        const now = performance.now();
        const reads = document.querySelector('[data-testid="stMain"]')?.innerText ?? '';
        if (reads !== text) [text, since] = [reads, now];
        if (lacks === 'the end of the script' && now - since > 5000) lacks = '';
        if (lacks && now - began < deadline_ms) return;
        observer.disconnect(); clearInterval(timer); done(lacks);
    };
    // A page that draws itself again every other second may rest for moments only: watch, do not poll. Where a busy
    // machine needs longer for a drawing than that, it never rests: then it is enough that nothing changes.
    const observer = new MutationObserver(look);
    observer.observe(document.body, {subtree: true, childList: true, attributes: true});
    const timer = setInterval(look, 50);
"""
_OVERFLOW: Final = """
    const boxes = [document.scrollingElement, document.querySelector('[data-testid="stMain"]')];
    return Math.max(...boxes.map(box => box.scrollWidth - box.clientWidth));
"""


def missing() -> str:
    """Empty, or which program is missing."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return (
        f"not installed: {', '.join(lacking)} (apt-get install chromium chromium-driver)" if lacking else ""
    )


class Browser:
    """One window. Every wait ends with pytest's failure that says what did not come."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def show(self, theme: Theme, width: int = 1440, height: int = 1000) -> None:
        """From now on, a viewport of `width` x `height` pixels, for somebody who prefers `theme`."""
        prefers = [{"name": "prefers-color-scheme", "value": theme}]
        self._cdp("Emulation.setEmulatedMedia", features=prefers)
        self._cdp("Emulation.setTimezoneOverride", timezoneId=TIMEZONE)
        self._cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def open(self, url: str) -> None:
        """As a pasted link: nothing of the page before is left."""
        self.driver.get("about:blank")
        self.driver.get(url)
        self.settle()

    def settle(self) -> None:
        """Until the script has run and its charts are drawn."""
        lacks = self.driver.execute_async_script(_SETTLED, WAIT_S * 1000)
        if lacks:
            self._fail(f"the page never came to rest: {lacks} is missing")

    def until(self, holds: Callable[[], bool], otherwise: str, deadline_s: float = WAIT_S) -> None:
        """Poll; elements that a rerun has just replaced count as not yet."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            try:
                if holds():
                    return
            except StaleElementReferenceException:
                pass
            time.sleep(_POLL_S)
        self._fail(otherwise)

    def _fail(self, what: str) -> NoReturn:
        pytest.fail(f"{what} (at {self.driver.current_url}); it reads:\n{self.text()[:2000]}")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def first(self, css: str) -> WebElement:
        """The first that is shown, waited for."""
        self.until(lambda: any(e.is_displayed() for e in self.all(css)), f"nothing like {css}")
        return next(e for e in self.all(css) if e.is_displayed())

    def text(self) -> str:
        """What is written on the page below the menu; canvases (tables, charts) are not part of it."""
        return str(self.run("return document.querySelector('[data-testid=\"stMain\"]')?.innerText ?? ''"))

    def press_enter(self) -> None:
        ActionChains(self.driver).send_keys(Keys.ENTER).perform()

    def overflow_px(self) -> int:
        """By how much the page is wider than its window."""
        return int(self.run(_OVERFLOW))

    def console_errors(self) -> list[str]:
        """What the console said at level error since the last call, uncaught exceptions among it.

        Streamlit asks for its own health below the page's path first, before it finds it at the root: no error. Nor is
        that a page which is being left lost its server; one that stays and has none is found by what it fails to show.
        """
        said: list[dict[str, Any]] = self.driver.get_log("browser")
        return [str(entry["message"]) for entry in said if _is_error(entry)]

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        """A PNG; `whole` makes the window as high as the page for the moment, up to 4,000 pixels."""
        file.parent.mkdir(parents=True, exist_ok=True)
        if not whole:
            self.driver.save_screenshot(str(file))
            return
        width, before, page = self.run(
            "const m = document.querySelector('[data-testid=\"stMain\"]');"
            "return [innerWidth, innerHeight, m ? m.scrollHeight + innerHeight - m.clientHeight : innerHeight]"
        )
        self._resize(width, min(max(page, before), 4000))
        self.settle()
        self.driver.save_screenshot(str(file))
        self._resize(width, before)

    def _resize(self, width: int, height: int) -> None:
        self._cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def _cdp(self, command: str, **parameters: object) -> None:
        self.driver.execute_cdp_cmd(command, parameters)


@contextmanager
def browsing(directory: Path) -> Iterator[Browser]:
    """Start chromium with an empty profile in `directory`, end it at the end."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",  # containers have no namespaces for it, and we open our own pages only
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={directory / 'profile'}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(shutil.which("chromedriver"), log_output=str(directory / "chromedriver.log"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.set_page_load_timeout(WAIT_S)
        driver.set_script_timeout(WAIT_S + 5)
        yield Browser(driver)
    finally:
        _quit(driver)


def _quit(driver: webdriver.Chrome) -> None:
    try:
        driver.quit()
    except (WebDriverException, OSError):
        os.kill(driver.service.process.pid, 9)


def _is_error(entry: dict[str, Any]) -> bool:
    said = str(entry["message"])
    return entry["level"] == "SEVERE" and "/_stcore/" not in said and "server is not responding" not in said
