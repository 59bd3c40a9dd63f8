"""`make course`: every page renders with all other hosts blocked, every notebook has run, every link leads on."""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import agents
import envs
import mdp
from agents.cli.course.marking import load
from tests.tutorials.browser import CHROMIUM, opened
from tests.tutorials.notebooks import NOTEBOOKS

nbformat = pytest.importorskip("nbformat", reason="the site needs the extra tutorials")
pytest.importorskip("pdoc", reason="the site needs the extra tutorials")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from course import site as building

    several = "PYTEST_XDIST_WORKER" in os.environ
    shared = tmp_path_factory.getbasetemp().parent if several else tmp_path_factory.getbasetemp()
    folder, built = shared / "course", shared / "course-is-built"
    with (shared / "course.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes first builds it, the others wait
        if not built.exists():
            building.build(folder)
            built.touch()
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_everything_is_there(site: Path) -> None:
    for path in NOTEBOOKS:
        assert (site / f"{path.stem}.html").exists()
        assert (site / "notebooks" / path.name).read_text() == path.read_text()
    assert len(list((site / "notebooks" / "assignments").glob("a*.py"))) == 2


def test_no_page_names_a_host_that_it_would_load_from(site: Path) -> None:
    for path in [*site.glob("*.html"), *site.glob("reference/**/*.html")]:
        hosts = set(re.findall(r"https?://([\w.-]+)", path.read_text()))
        loaded = set(re.findall(r"(?:<link[^>]*href|src)=[\"']https?://([\w.-]+)", path.read_text()))
        if path.parent == site and path.stem[:2].isdigit():
            assert "cdn.jsdelivr.net" not in hosts, path
        assert loaded == set(), path


def test_every_link_between_the_pages_leads_somewhere(site: Path) -> None:
    for path in [site / "index.html", site / "TEACHING.html", *site.glob("reference/**/*.html")]:
        for link in re.findall(r"(?:src|href)=[\"']([^\"'#]+)", path.read_text()):
            if not link.startswith(("http", "data:", "mailto:", "$")):  # the last is a script's template
                assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_the_notebooks_for_jupyter_have_run(site: Path) -> None:
    for path in NOTEBOOKS:
        cells = nbformat.read(site / "notebooks" / f"{path.stem}.ipynb", as_version=4).cells
        code = [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]
        assert len(code) > 5
        assert all(cell.execution_count for cell in code)
        kinds = [out.output_type for cell in code for out in cell.outputs]
        assert "error" not in kinds
        assert "display_data" in kinds or "execute_result" in kinds


@pytest.mark.parametrize("room", [mdp, envs, agents])
def test_the_reference_has_every_public_name(room: Any, site: Path) -> None:
    page = (site / "reference" / f"{room.__name__}.html").read_text()
    assert [name for name in room.__all__ if f'id="{name}"' not in page] == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_the_pages_render_without_a_network(address: str, tmp_path: Path) -> None:
    with opened(address, tmp_path) as watched:
        watched.page.goto(f"{address}index.html")
        watched.wait_for("question", "notebook")
        for path in NOTEBOOKS:
            watched.page.goto(f"{address}{path.stem}.html")
            title = re.search(r"^    # (.+)$", path.read_text(), re.MULTILINE)
            assert title is not None
            watched.wait_for(re.split(r"[$*`]", title[1])[0], "Exercise 3.")
            loaded = watched.page.evaluate("[...document.images].filter(x => x.complete && x.naturalWidth > 9).length")
            assert loaded >= 1, path
        watched.page.goto(f"{address}reference/mdp.html")
        watched.wait_for("policy_gradient", "reinforce_moments")
        assert watched.complaints == []
        assert watched.foreign == []


def test_a_notebook_that_raises_stops_the_build(tmp_path: Path) -> None:
    from course import site as building

    path = tmp_path / "broken.py"
    path.write_text(
        "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    raise ArithmeticError('on purpose')\n\n\n"
        'if __name__ == "__main__":\n    app.run()\n'
    )
    load(path)  # it is a notebook; its cells have not run
    with pytest.raises(RuntimeError, match=r"(?s)broken\.py.*some cells failed"):
        building.page(path, tmp_path / "broken.html")
    with pytest.raises(RuntimeError, match=r"(?s)broken\.py.*on purpose"):
        building.notebook(path, tmp_path / "broken.ipynb")


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    from course import site as building

    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RuntimeError, match="no site of the course"):
        building.build(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
