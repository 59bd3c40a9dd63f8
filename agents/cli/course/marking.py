"""`python -m agents.cli.course.marking HANDED_OUT HANDED_IN RESULTS`: an assignment's checks of a student's functions.

The checks are those of the file that was handed out, so that it does not matter what a student made of theirs: the
functions that were to be written are taken over, and every `test_...` is run. RESULTS gets a line of JSON before and
after each check: whoever waits sees in which one a loop does not end.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from agents.cli.user import what

UNWRITTEN = "not written yet"


def load(path: Path) -> ModuleType:
    """A notebook as a module: its functions, none of its cells."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def marked(handed_out: Path, handed_in: Path) -> Iterator[dict[str, str]]:
    """{"check": name} before each check, {"check": name, "said": "" or what is wrong} after it."""
    given = load(handed_out)
    theirs = load(handed_in)
    for task in given.TASKS:
        if not callable(getattr(theirs, task, None)):
            raise ValueError(f"there is no function {task} in {handed_in.name}")
        setattr(given, task, getattr(theirs, task))
    for name in [name for name in vars(given) if name.startswith("test_")]:
        yield {"check": name}
        yield {"check": name, "said": wrong(given, name)}


def wrong(given: ModuleType, name: str) -> str:
    """What one check says; nothing where all is well."""
    try:
        getattr(given, name)()
    except NotImplementedError:
        return UNWRITTEN
    except AssertionError as error:
        return str(error) or "an assertion of your own failed"
    except Exception as error:
        return what(error)
    return ""


def main(handed_out: str, handed_in: str, results: str) -> None:
    """Write the lines as they come; an assignment that cannot be loaded is one line with an "error"."""
    with Path(results).open("w") as file:
        try:
            for line in marked(Path(handed_out), Path(handed_in)):
                print(json.dumps(line), file=file, flush=True)
        except Exception as error:
            said = str(error) if isinstance(error, ValueError) else what(error)
            print(json.dumps({"error": said}), file=file, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
