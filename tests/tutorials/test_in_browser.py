"""Each notebook in Chromium: a slider moved, a button pressed, and the numbers that must then be on the page."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.tutorials.browser import CHROMIUM, ROOT, Reading, Watched, opened, served
from tests.tutorials.notebooks import NOTEBOOKS

pytest.importorskip("playwright", reason="the browser tests need playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")

PICTURES = ROOT / "build" / "screenshots"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem[:2])
def test_as_a_reader(path: Path, tmp_path: Path) -> None:
    """Texts that come must not have been there before: a page that shows everything at once would pass otherwise."""
    reading: Reading = importlib.import_module(f"tests.tutorials.test_tutorial_{path.stem[:2]}").READING
    PICTURES.mkdir(parents=True, exist_ok=True)
    with served(path) as address, opened(address, tmp_path) as watched:
        page = watched.page
        page.goto(address)
        watched.wait_for(*reading.at_first())
        absent(watched, reading.moved())
        slider = page.get_by_role("slider").nth(reading.slider)
        for key in reading.keys:
            slider.press(key)
        watched.wait_for(*reading.moved())
        absent(watched, reading.pressed())
        for _ in range(reading.clicks):
            page.get_by_role("button", name=reading.button, exact=True).first.click()
        watched.wait_for(*reading.pressed())
        watched.picture(PICTURES / f"{path.stem}.png")
        for raw in ("--:", "$$", "Traceback", "\\frac"):  # of a table or a formula that was not one
            assert not watched.has(raw), raw
        assert watched.complaints == []
        assert watched.foreign == []


def absent(watched: Watched, texts: list[str]) -> None:
    """At least one of the texts that are to come is not there yet."""
    assert any(not watched.has(text) for text in texts), texts
