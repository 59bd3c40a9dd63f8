"""`make course`: the course as a folder of static pages, for a lecture without a network.

    index.html            the syllabus, with links to everything below
    01_....html           each notebook as it looks when it has run, with every script and font beside it
    notebooks/            the same as .ipynb, executed, and as the .py files that marimo opens
    reference/            the public API, by pdoc from the docstrings
    _static/              marimo's scripts and fonts

marimo's export names a CDN for its scripts; that address becomes `./_static`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import marimo
import markdown
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from rich.progress import track

TUTORIALS = Path(__file__).parent.parent
CDN = re.compile(r"https://cdn\.jsdelivr\.net/npm/@marimo-team/frontend@[\d.]+/dist")
API = ["mdp", "mdp.plot", "envs", "agents", "agents.losses", "agents.losses.named"]
SERVE = "python -m http.server --directory"
FROM_A_FILE = f"""<script>
if (location.protocol === "file:") document.write(
  "<p style='font: 16px sans-serif; margin: 2em'>A browser runs no scripts from files. Serve the folder: " +
  "<code>{SERVE} " + decodeURI(location.pathname.replace(/[^/]*$/, "")) + "</code></p>");
</script>"""
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 17px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }}
table {{ border-collapse: collapse; margin: 1em 0 }} td, th {{ border-bottom: 1px solid #ccc; padding: .3em .7em; text-align: left }}
code, pre {{ background: #f3f3f3; padding: .1em .3em }} pre {{ padding: .7em; overflow-x: auto }} pre code {{ padding: 0 }} a {{ color: #0072B2 }}
</style></head><body>
<p><a href="index.html">The course</a> &middot; <a href="TEACHING.html">For teachers</a> &middot;
<a href="notebooks/">Notebooks for Jupyter and marimo</a> &middot;
<a href="reference/index.html">Reference of the API</a></p>
{body}
</body></html>
"""  # noqa: E501


def build(site: Path) -> None:
    """Make the whole site anew; what was there stays until it is done.

    Raises RuntimeError with what was said where a page, a notebook or pdoc fails, and for a folder with something else.
    """
    if site.exists() and any(site.iterdir()) and not (site / "_static").is_dir():
        raise RuntimeError(f"{site} holds something that is no site of the course: name another folder")
    site.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=site.parent) as folder:
        new = Path(folder) / "site"
        (new / "notebooks").mkdir(parents=True)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # each job is a process of its own
            running = [pool.submit(job) for job in jobs(new)]
            try:
                for one in track(running, "building the course"):
                    one.result()
            finally:
                pool.shutdown(cancel_futures=True)  # the first that fails ends it
        shutil.rmtree(site, ignore_errors=True)
        new.rename(site)


def jobs(site: Path) -> Iterator[Callable[[], None]]:
    """What there is to do, the longest first."""
    for path in sorted(TUTORIALS.glob("[0-9][0-9]_*.py")):
        yield partial(notebook, path, site / "notebooks" / f"{path.stem}.ipynb")
        yield partial(page, path, site / f"{path.stem}.html")
    yield partial(reference, site / "reference")
    yield partial(assets, site)
    for name, target in (("README.md", "index.html"), ("TEACHING.md", "TEACHING.html")):
        yield partial(text, TUTORIALS / name, site / target)


def called(*command: str | Path) -> None:
    """Run a module of Python in the folder of the tutorials."""
    done = subprocess.run([sys.executable, "-m", *map(str, command)], cwd=TUTORIALS, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def page(path: Path, target: Path) -> None:
    """A notebook that has run, as HTML without any address but our own."""
    called("marimo", "--quiet", "export", "html", path, "--no-include-code", "--force", "--output", target.resolve())
    exported = target.read_text()
    if not CDN.search(exported):
        raise RuntimeError(f"marimo {marimo.__version__} no longer exports the address {CDN.pattern}")
    local = CDN.sub("./_static", exported).replace("<body>", f"<body>{FROM_A_FILE}", 1)
    target.write_text(local)


def notebook(path: Path, target: Path) -> None:
    """A notebook for Jupyter, executed; beside it what it imports, and the .py file."""
    called("marimo", "--quiet", "export", "ipynb", path, "--force", "--output", target.resolve())
    content = nbformat.read(target, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(content, timeout=600, kernel_name="python3", resources={"metadata": {"path": TUTORIALS}})
    try:
        client.execute()
    except CellExecutionError as error:
        raise RuntimeError(f"{path.name} as a notebook for Jupyter: {error}") from None
    nbformat.write(content, target)  # type: ignore[no-untyped-call]
    shutil.copy(path, target.parent)


def reference(target: Path) -> None:
    """The public API. A docstring is shown as it was typed: equations keep their columns."""
    others = "!" + r"(?!(" + "|".join(re.escape(name) for name in API) + r")$)"
    called("pdoc", *API, others, "--output-directory", target.resolve(), "--template-directory", Path(__file__).parent)


def assets(site: Path) -> None:
    """marimo's scripts and fonts; what notebooks import; the assignments."""
    static = Path(marimo.__file__).parent / "_static"
    shutil.copytree(static, site / "_static", ignore=shutil.ignore_patterns("*.md", "index.html"))
    for name in ("course", "assignments"):
        shutil.copytree(TUTORIALS / name, site / "notebooks" / name, ignore=shutil.ignore_patterns("__pycache__"))


def text(path: Path, target: Path) -> None:
    """Markdown as a page of its own; links to notebooks and other texts lead to their pages."""
    body = markdown.markdown(path.read_text(), extensions=["tables", "fenced_code", "toc"])
    body = re.sub(r'href="(\d\d_\w+)\.py"', r'href="\1.html"', body)
    body = body.replace('href="assignments/', 'href="notebooks/assignments/').replace('.md"', '.html"')
    title = re.search(r"<h1[^>]*>(.*?)</h1>", body)
    target.write_text(PAGE.format(title=title[1] if title else path.stem, body=body))


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]))
    except RuntimeError as error:
        sys.exit(str(error))
    print(f"wrote {sys.argv[1]}: {SERVE} {sys.argv[1]}")
