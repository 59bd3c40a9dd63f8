"""How long a reader waits: from opening a page of the course to its first numbers, and from a key to the next ones.

python tests/benchmarks/course_in_browser.py      writes the page beside it; Chromium and the extras tutorials and test

A page is opened OPENINGS times, each by a server and a browser of its own, on 127.0.0.1. Waited for: the texts that
tests/tutorials/test_tutorial_NN.py expects at first, and after the last key on the slider that it moves. A wait starts
when the server answers, and when nothing has changed for two seconds. "all of it": until nothing changes any more.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

from playwright.sync_api import Page

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tutorials")]

from tests.tutorials.browser import Reading, opened, served  # noqa: E402
from tests.tutorials.notebooks import NOTEBOOKS  # noqa: E402

OPENINGS = 3


def waits(path: Path) -> tuple[float, float, float]:
    """Seconds: first numbers, numbers after a key, all of the page after it."""
    reading: Reading = importlib.import_module(f"tests.tutorials.test_tutorial_{path.stem[:2]}").READING
    at_first, moved = reading.at_first(), reading.moved()
    with tempfile.TemporaryDirectory() as own, served(path) as address, opened(address, Path(own)) as watched:
        start = perf_counter()
        watched.page.goto(address)
        watched.wait_for(*at_first)
        first = perf_counter() - start
        settled(watched.page)
        slider = watched.page.get_by_role("slider").nth(reading.slider)
        for key in reading.keys[:-1]:
            slider.press(key)
        settled(watched.page)
        news = [text for text in moved if not watched.has(text)]
        start = perf_counter()
        slider.press(reading.keys[-1])
        watched.page.wait_for_function("texts => texts.some(x => document.body.innerText.includes(x))", arg=news)
        return first, perf_counter() - start, settled(watched.page) - start


def settled(page: Page) -> float:
    """When the text and the pictures of the page last changed, known after two seconds in which they did not."""
    script = "document.body.innerText + [...document.images].map(x => x.src.length + x.src.slice(-99)).join()"
    before, last = page.evaluate(script), perf_counter()
    while perf_counter() - last < 2:
        sleep(0.05)
        now = page.evaluate(script)
        if now != before:
            before, last = now, perf_counter()
    return last


def main() -> None:
    lines = []
    for path in NOTEBOOKS:
        first, key, whole = (median(x) for x in zip(*(waits(path) for _ in range(OPENINGS)), strict=True))
        lines.append(f"| {path.stem} | {first:.1f} | {key:.2f} | {whole:.2f} |")
        print(lines[-1], flush=True)
    Path(__file__).with_suffix(".md").write_text(f"""# How long a reader waits

`python tests/benchmarks/course_in_browser.py` writes this page: seconds of wall time on a shared machine of
two cores, medians of {OPENINGS} openings, Chromium and the server on the same machine. Wanted: the first render below
10 s, and for pages 1 to 9 the numbers after a key on a slider below 1 s.

| page | first numbers | numbers after a key | all of the page after it |
|---|---|---|---|
{chr(10).join(lines)}
""")


if __name__ == "__main__":
    main()
