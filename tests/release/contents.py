"""What is in the wheel and in the source distribution, held against the files that git tracks.

    python -m tests.release.contents dist      # after python -m build

The source distribution is the repository: all files but .ci and .gitignore, and what setuptools adds. The wheel is the
three packages, the course where `exactrl tutorials` looks for it, and its own description.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = (".ci/", ".gitignore")
ADDED = ("PKG-INFO", "setup.cfg", "exactrl.egg-info/")
PACKAGES = ("mdp/", "envs/", "agents/")
COURSE = ("tutorials/[0-9]*.py", "tutorials/*.md", "tutorials/course/*", "tutorials/assignments/*")


def tracked(*patterns: str) -> set[str]:
    """Files of the repository."""
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(listed.stdout.splitlines())


def of_sdist(path: Path) -> set[str]:
    """Names below its one folder."""
    with tarfile.open(path) as archive:
        return {x.name.partition("/")[2] for x in archive if x.isfile()}


def of_wheel(path: Path) -> set[str]:
    """Names as they lie in the repository; of its own description only the licence."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    prefix = path.name.rsplit("-", 3)[0]
    course = {x.removeprefix(f"{prefix}.data/data/share/exactrl/") for x in names if ".data/" in x}
    licences = {x.removeprefix(f"{prefix}.dist-info/licenses/") for x in names if ".dist-info/licenses/" in x}
    return course | licences | {x for x in names if ".data/" not in x and ".dist-info/" not in x}


def faults(dist: Path) -> list[str]:
    """What is missing, and what should not be there."""
    (sdist,), (wheel,) = dist.glob("exactrl-*.tar.gz"), dist.glob("exactrl-*.whl")
    repository = {x for x in tracked() if not x.startswith(LEFT_OUT)}
    inside = {x for x in of_sdist(sdist) if not x.startswith(ADDED)}
    wanted = {"LICENSE"} | tracked(*PACKAGES) | tracked(*COURSE)
    pairs = ((sdist.name, repository, inside), (wheel.name, wanted, of_wheel(wheel)))
    return [
        f"{name}: {x} {what}"
        for name, should, does in pairs
        for what, these in (("is missing", should - does), ("should not be there", does - should))
        for x in sorted(these)
    ]


if __name__ == "__main__":
    dist = Path(sys.argv[1])
    found = faults(dist)
    for path in sorted(dist.iterdir()):
        files = of_wheel(path) if path.suffix == ".whl" else of_sdist(path)
        print(f"{path.name}: {len(files)} files, {path.stat().st_size / 1e6:.2f} MB")
    sys.exit("\n".join(found) or None)
