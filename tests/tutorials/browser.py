"""A notebook as a reader has it: served on 127.0.0.1, opened in Chromium without a network, and watched."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parent.parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
PATIENCE = 120_000  # milliseconds until a machine that is busy with other tests is given up


@dataclass(frozen=True)
class Reading:
    """What a reader does on a page, and the text that must then be on it, by the package's own answer.

    at_first: the texts of the untouched page. slider: which one, in the order of the page; keys: what is pressed on it;
    moved: the texts after that. button: its label; pressed: the texts after it was clicked `clicks` times.
    """

    at_first: Callable[[], list[str]]
    slider: int
    keys: list[str]
    moved: Callable[[], list[str]]
    button: str
    clicks: int
    pressed: Callable[[], list[str]]


@dataclass
class Watched:
    """An open page; what its console complained of, and hosts that it asked beside ours."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def wait_for(self, *texts: str) -> None:
        """Until all texts are on the page. Raises AssertionError with those that never came."""
        script = "texts => texts.every(x => document.body.innerText.includes(x))"
        from playwright.sync_api import TimeoutError as Late

        try:
            self.page.wait_for_function(script, arg=list(texts), timeout=PATIENCE)
        except Late:
            text = self.page.inner_text("body")
            raise AssertionError(f"never shown: {[x for x in texts if x not in text]}") from None

    def picture(self, path: Path) -> None:
        """The page as a PNG from top to bottom; it scrolls inside its window, which is made as tall as it is."""
        tall = self.page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(x => x.scrollHeight))")
        before = self.page.viewport_size
        self.page.set_viewport_size({"width": 1200, "height": min(int(tall), 12_000)})
        self.page.screenshot(path=path)
        self.page.set_viewport_size(before or {"width": 1200, "height": 1000})

    def has(self, text: str) -> bool:
        return text in self.page.inner_text("body")


@contextmanager
def served(notebook: Path) -> Iterator[str]:
    """The address at which `exactrl tutorials N` serves a notebook."""
    port = free_port()
    command = [sys.executable, "-m", "agents.cli", "tutorials", notebook.stem[:2], "--headless", "--no-token"]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}/"
        answered(server, address)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answered(server: subprocess.Popen[bytes], address: str) -> None:
    """Return with the first answer of status 200."""
    until = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < until:
        assert server.poll() is None, f"the server ended with exit code {server.returncode}"
        try:
            with urllib.request.urlopen(address, timeout=10) as page:
                assert page.status == 200
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise AssertionError(f"no answer from {address}")


@contextmanager
def opened(address: str, profile: Path, **options: Any) -> Iterator[Watched]:
    """Chromium with an empty profile; a request to another host than that of `address` is blocked and written down."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, args=FLAGS, viewport={"width": 1200, "height": 1000}, **options
        )
        try:
            watched = Watched(context.pages[0])
            watch(watched, address)
            yield watched
        finally:
            context.close()


def watch(watched: Watched, address: str) -> None:
    """Write down errors of the console and of the page, and requests to other hosts."""
    here = ("data:", "blob:", address.rsplit("/", 1)[0], address.replace("http:", "ws:").rsplit("/", 1)[0])

    def routed(route: Any) -> None:
        if route.request.url.startswith(here):
            route.continue_()
        else:
            watched.foreign.append(route.request.url)
            route.abort()

    watched.page.route("**/*", routed)
    watched.page.on("console", lambda said: watched.complaints.append(said.text) if said.type == "error" else None)
    watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
