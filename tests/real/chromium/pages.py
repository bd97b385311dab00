"""What one looks for on any page of the dashboard, and how one gets about: menu, defects, keyboard, the red cell."""

from __future__ import annotations

import time
from typing import Any, Final

import polars as pl
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.keys import Keys

from dashboard.colours import COLOURS
from dashboard.fleet import cells
from dashboard.fleet.picture import picture
from tests.real.chromium.browser import Browser, Theme

_EVERYTHING: Final = """
    const inCanvases = [...document.querySelectorAll('canvas table')].map(table => table.textContent);
    return [document.querySelector('[data-testid="stMain"]').innerText, ...inCanvases].join('\\n');
"""
_FOCUSED: Final = """
    const e = document.activeElement;
    if (!e || e === document.body) return '';
    const role = e.getAttribute('role') ?? {A: 'link', BUTTON: 'button', INPUT: 'input'}[e.tagName] ?? e.tagName;
    const named = e.querySelector('[data-testid="stMarkdownContainer"]') ?? e;
    return role + ' ' + (e.getAttribute('aria-label') ?? named.innerText).trim();
"""
_LUMINANCE: Final = """
    const [r, g, b] = getComputedStyle(document.querySelector('[data-testid="stApp"]'))
        .backgroundColor.match(/[0-9.]+/g).map(Number);
    return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
"""
_RED_CELL: Final = """
    const canvas = document.querySelector('.fleet-map canvas');
    if (!canvas || !canvas.width) return null;
    const box = canvas.getBoundingClientRect();
    const scale = canvas.width / box.width;
    const {data, width} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let [count, x, y] = [0, 0, 0];
    for (let i = 0; i < data.length; i += 4) {
        const isRed = data[i] - Math.max(data[i + 1], data[i + 2]) > 100 && data[i + 3] > 200;
        if (isRed) { count++; x += (i / 4) % width; y += Math.floor(i / 4 / width); }
    }
    return count > 8 ? [box.x + x / count / scale, box.y + y / count / scale] : null;
"""


_SHOW_MAP: Final = """
    const map = document.querySelector('.fleet-map').fleetMap;
    map.show(arguments[0], () => {});
    const right = map.now.places.map(({x, across}) => x + across * map.now.size);
    return [map.canvas.getBoundingClientRect().width, Math.max(...right),
            map.data.groups.reduce((sum, group) => sum + group.cells.length, 0)];
"""


def menu(browser: Browser) -> dict[str, str]:
    """Title and address of every page that the menu names."""
    links = browser.all('[data-testid="stTopNavLink"]')
    titles = [link.find_element("css selector", '[data-testid="stMarkdownContainer"]').text for link in links]
    return {
        title: str(link.get_attribute("href")) for title, link in zip(titles, links, strict=True) if title
    }


def everything(browser: Browser) -> str:
    """The page's text, and what tables drawn on a canvas say to a screen reader."""
    return str(browser.run(_EVERYTHING))


def defects(browser: Browser, theme: Theme) -> list[str]:
    """What no page of a lake that is whole may show; empty where all is well."""
    wrong = [f"a traceback: {box.text[:300]!r}" for box in browser.all('[data-testid="stException"]')]
    # a verdict on a GPU may be a red box as well: dashboard/notices.py is known by the advice below it
    advice = [line for line in browser.text().splitlines() if line.startswith("Try: ")]
    wrong += [f"an error that says {line!r}" for line in advice]
    if not any(heading.text for heading in browser.all("h1")):
        wrong.append("no heading")
    if px := browser.overflow_px():
        wrong.append(f"{px} pixels too wide")
    if (browser.run(_LUMINANCE) < 0.5) != (theme == "dark"):
        wrong.append(f"it is not {theme}")
    unnamed = [i.get_attribute("outerHTML") for i in browser.all('input[role="combobox"]:not([aria-label])')]
    return wrong + [f"a choice without a name: {str(html)[:100]}" for html in unnamed]


def tab_through(browser: Browser, times: int) -> list[str]:
    """Role and name of what has the focus after each Tab from the top of the page."""
    reached = []
    for _ in range(times):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        reached.append(focused(browser))
    return reached


def tab_to(browser: Browser, wanted: str, times: int) -> None:
    """Press Tab until `wanted` has the focus."""
    for _ in range(times):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        if focused(browser) == wanted:
            return
    raise AssertionError(f"{times} times Tab, and never at {wanted}")


def focused(browser: Browser) -> str:
    return str(browser.run(_FOCUSED))


def click_red_cell(browser: Browser) -> None:
    """The one cell of the fleet's map that is at the alarm level. In the light theme, where that is red."""
    seen: list[Any] = []

    def at_rest() -> bool:
        """What is drawn above the map moves it: a click where it was meets another cell."""
        seen.append(browser.run(_RED_CELL))
        time.sleep(0.25)
        return len(seen) > 3 and seen[-1] is not None and all(place == seen[-1] for place in seen[-4:])

    browser.until(at_rest, "no red cell at rest on the map")
    x, y = seen[-1]
    mouse = ActionBuilder(browser.driver)
    mouse.pointer_action.move_to_location(round(x), round(y)).click()
    mouse.perform()


def picture_of(gpus: int) -> dict[str, Any]:
    """What the page sends for a calm fleet of so many, eight to a node and 32 nodes to a rack."""
    node = pl.int_range(pl.len()) // 8
    fleet = pl.DataFrame({"gpu_uuid": [f"GPU-{n}" for n in range(gpus)]}).select(
        "gpu_uuid", node=pl.format("rack{}-node{}", node // 32, node % 32), gpu_index=pl.int_range(pl.len()) % 8,
        state=pl.lit("ok"), risk=pl.lit(0.01), alarm_level=pl.lit(0.5),
    )  # fmt: skip
    return picture(cells.lay_out(cells.scoped(fleet), COLOURS["risk"]), COLOURS["risk"])


def shown_map(browser: Browser, shown: dict[str, Any]) -> tuple[float, float, int]:
    """The page's map draws `shown`: its width and the width that its cells take (pixels), and how many they are."""
    browser.first(".fleet-map canvas")
    wide, needed, count = browser.run(_SHOW_MAP, shown)
    return float(wide), float(needed), int(count)
