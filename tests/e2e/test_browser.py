"""The dashboard in a real browser: every page, both themes, small and large lake, and the way one goes at 3 a.m.

FORESHOCK_SCREENSHOTS names a folder for the pictures; they are meant to be looked at.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.lake_fixture import END, make_lake
from tests.real.chromium import identity_provider, pages, proxy
from tests.real.chromium.browser import THEMES, Browser, Theme, browsing, missing
from tests.real.chromium.large_lake import make_large_lake
from tests.real.chromium.served import Served, serving

pytestmark = pytest.mark.timeout(300)

GPUS = 10_000
TABS = 60
"""So many times Tab at most, until one is where one wants to be."""
REGISTRY = Path(__file__).parents[2] / "demo" / "registry"
"""So that the model's page has a model to show."""
DEMO_CLOCK = f"[clock]\nspeed = 30.0\norigin_unix_s = {END.timestamp()}\n"


@dataclass(frozen=True)
class Dashboard:
    """A served lake with one failing GPU."""

    name: str
    served: Served
    failing: str
    shots: Path

    def gpu_url(self) -> str:
        return f"{self.served.url}/gpu?gpu={self.failing}"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    lacking = missing()
    if lacking and os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(lacking)
    if lacking:
        pytest.skip(lacking)
    with browsing(tmp_path_factory.mktemp("chromium")) as one:
        yield one


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("FORESHOCK_SCREENSHOTS")
    return Path(named) if named else tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="module", params=["demo", "large"])
def dashboard(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, browser: Browser, shots: Path
) -> Iterator[Dashboard]:
    """One served lake at a time. `browser` comes first: without one, no lake need be made."""
    folder = tmp_path_factory.mktemp(request.param)
    demo = request.param == "demo"
    failing = make_lake(folder / "lake").failing if demo else make_large_lake(folder / "lake", GPUS)
    more = f'[models]\nregistry = "{REGISTRY}"\n' + (DEMO_CLOCK if demo else "")
    with serving(folder / "lake", folder, more) as served:
        yield Dashboard(request.param, served, failing, shots)


@pytest.fixture
def at(dashboard: Dashboard, browser: Browser) -> Iterator[Browser]:
    """The browser before a page; after the test, neither console nor server may have an error to tell of."""
    before = len(dashboard.served.failures())
    browser.console_errors()
    browser.show("light")
    yield browser
    assert browser.console_errors() == []
    assert dashboard.served.failures()[before:] == [], dashboard.served.log.read_text()[-3000:]


@pytest.mark.parametrize("theme", THEMES)
def test_every_page_of_the_menu_is_whole(dashboard: Dashboard, at: Browser, theme: Theme) -> None:
    at.show(theme)
    at.open(dashboard.served.url)
    found = pages.menu(at)
    assert len(found) >= 1
    wrong: list[str] = []
    for title, url in found.items():
        at.show(theme)
        at.open(url)
        at.screenshot(dashboard.shots / f"{dashboard.name}-{theme}-{title}.png")
        wrong += [f"{title}: {what}" for what in pages.defects(at, theme)]
        at.show(theme, width=1024, height=768)
        at.settle()
        if px := at.overflow_px():
            wrong.append(f"{title}: {px} pixels too wide for a window of 1024")
    assert wrong == []


def test_every_room_behind_the_menu_is_whole(dashboard: Dashboard, at: Browser) -> None:
    """What is reached by a click or a pasted link: a node, a story, an answer, a what-if. In both themes where
    the pictures are wanted; else one each: the pages of the menu are looked at in both.
    """
    wanted = THEMES if "FORESHOCK_SCREENSHOTS" in os.environ else THEMES[dashboard.name != "demo" :][:1]
    url = dashboard.served.url
    at.open(dashboard.gpu_url())
    node = str(at.first('[data-testid="stMain"] a[href*="gpu?node="]').get_attribute("href"))
    rooms = {"node": node, "story": f"{url}/incidents?incident=inc-1", "answer": f"{url}/sql?q=1"}
    if dashboard.name == "demo":  # it asks no lake: once is enough
        rooms["what-if"] = f"{url}/effective?gpus=16384"
    wrong: list[str] = []
    for (name, room), theme in itertools.product(rooms.items(), wanted):
        at.show(theme)
        at.open(room)
        if name == "what-if":
            at.first('[data-testid="stTab"]:nth-of-type(2)').click()
            at.until(lambda: "without Foreshock" in at.text(), "no what-if")
            at.settle()
        at.screenshot(dashboard.shots / f"{dashboard.name}-{theme}-room-{name}.png")
        wrong += [f"{name}: {what}" for what in pages.defects(at, theme)]
    assert wrong == []


def test_the_way_at_three_in_the_morning(dashboard: Dashboard, at: Browser) -> None:
    """What is about to fail, is it true, what do I do, what was done."""
    at.open(dashboard.served.url)
    at.first(f'[data-testid="stMain"] a[href*="gpu?gpu={dashboard.failing}"]').click()
    at.until(lambda: f"/gpu?gpu={dashboard.failing}" in at.driver.current_url, "no GPU page opened")
    at.settle()
    at.until(lambda: "NVLink CRC errors" in at.text(), "no reason")
    at.until(lambda: "What to do" in at.text(), "no runbook")
    at.screenshot(dashboard.shots / f"{dashboard.name}-3am-1-gpu.png")

    at.first('[data-testid="stMain"] a[href*="incidents?incident=inc-1"]').click()
    at.until(lambda: "/incidents?incident=inc-1" in at.driver.current_url, "no incident opened")
    at.settle()
    at.until(lambda: "checkpoint of step 812" in pages.everything(at), "the story lacks what was done")
    at.screenshot(dashboard.shots / f"{dashboard.name}-3am-2-story.png")

    at.first(f'[data-testid="stMain"] a[href*="gpu={dashboard.failing}"]').click()
    at.until(lambda: f"gpu={dashboard.failing}" in at.driver.current_url, "no way back to the GPU")


def test_the_red_cell_of_the_map_leads_to_the_gpu(dashboard: Dashboard, at: Browser) -> None:
    at.open(dashboard.served.url)
    pages.click_red_cell(at)
    at.until(lambda: "/gpu?" in at.driver.current_url, "the red cell led nowhere")
    at.until(lambda: dashboard.failing in pages.everything(at), "the red cell led to another GPU")


@pytest.mark.parametrize("gpus", [100_000, 1_000_000])
def test_every_cell_of_a_larger_fleet_is_on_the_map(dashboard: Dashboard, at: Browser, gpus: int) -> None:
    """The map that the page has, given the picture of a fleet for which no lake need be made."""
    if dashboard.name != "demo":
        pytest.skip("the picture is the same on any lake")
    at.open(dashboard.served.url)
    wide, needed, cells = pages.shown_map(at, pages.picture_of(gpus))
    assert needed <= wide
    assert cells > 300


def test_a_pasted_link_opens_the_same_gpu(dashboard: Dashboard, at: Browser) -> None:
    at.open(dashboard.gpu_url())
    shown = at.first("h1").text
    at.until(lambda: dashboard.failing in at.text(), "another GPU")
    kept = at.driver.current_url
    at.open(dashboard.served.url)
    at.open(kept)
    at.until(lambda: at.first("h1").text == shown, "the copied address shows something else")
    assert dashboard.failing in at.text()


def test_tab_reaches_the_menu_and_the_choice_of_a_gpu(dashboard: Dashboard, at: Browser) -> None:
    at.open(dashboard.gpu_url())
    reached = pages.tab_through(at, TABS)
    assert {f"link {title}" for title in pages.menu(at)} <= set(reached)
    assert any(re.match("combobox .*GPU", what) for what in reached), reached
    at.open(dashboard.served.url)
    pages.tab_to(at, "link Incidents", TABS)
    at.press_enter()
    at.until(lambda: at.driver.current_url.endswith("/incidents"), "Enter did not follow the menu's link")


def test_times_are_utc_wherever_the_browser_stands(dashboard: Dashboard, at: Browser) -> None:
    """The browser's own clock stands hours away; none of its times may be on the page."""
    if dashboard.name != "demo":
        pytest.skip("told on the lake whose times are fixed")
    for url in (
        dashboard.served.url,
        dashboard.gpu_url(),
        f"{dashboard.served.url}/incidents?incident=inc-1",
    ):
        at.open(url)
        text = pages.everything(at)
        assert re.search(r"\b11:5\d\b", text), f"{url} has no time in UTC"
        assert not re.search(r"\b0?3:[3-5]\d\b", text), f"{url} has local times"


def test_nothing_is_read_before_the_login(browser: Browser, shots: Path, tmp_path: Path) -> None:
    """Streamlit's own login, against a real OpenID Connect provider of our own; then the link that was followed."""
    lake = make_lake(tmp_path / "lake", nodes=1, minutes=3)
    with (
        identity_provider.letting_in("ann@example.org") as provider,
        serving(lake.path, tmp_path, secrets=partial(identity_provider.secrets, provider)) as served,
    ):
        browser.show("light")
        for room in ("", "/sql?q=1", f"/gpu?gpu={lake.failing}"):
            browser.open(served.url + room)
            assert "Log in to see the fleet" in browser.text()
            assert lake.failing not in pages.everything(browser)
        browser.screenshot(shots / "login.png")
        browser.first('[data-testid="stMain"] button').click()
        browser.until(lambda: "Logged in as ann@example.org" in browser.text(), "no login")
        browser.until(lambda: browser.driver.current_url.endswith(room), "the link was not followed")
        browser.settle()
        assert lake.failing in pages.everything(browser)
        assert pages.menu(browser)
        browser.screenshot(shots / "logged-in.png")
        browser.all('[data-testid="stMain"] button')[-1].click()
        browser.until(lambda: "Log in to see the fleet" in browser.text(), "no way out")
    browser.console_errors()


def test_past_the_proxy_nothing_is_read_and_with_its_header_a_word_is_signed(
    browser: Browser, tmp_path: Path
) -> None:
    lake = make_lake(tmp_path / "lake", nodes=1, minutes=3)
    more = 'may_write = true\nuser_header = "X-Forwarded-User"\n'
    with serving(lake.path, tmp_path, more) as served:
        browser.show("light")
        browser.open(f"{served.url}/gpu?gpu={lake.failing}")
        assert "The proxy did not say who you are" in browser.text()
        assert lake.failing not in pages.everything(browser)
        with proxy.naming("ann@example.org", served.url) as proxied:
            browser.open(f"{proxied}/incidents?incident=inc-1")
            browser.until(lambda: "Signed: ann@example.org" in browser.text(), "nobody signs")
    browser.console_errors()
