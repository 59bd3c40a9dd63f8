"""What the user brings: a function of their own, module:function on the command line."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def user_function(option: str, spec: str) -> Callable[..., Any]:
    """module:function, from the current folder or an installed package. Raises ValueError where there is none."""
    module, _, name = spec.partition(":")
    if not module or not name:
        raise ValueError(f"{option} takes module:function, not {spec!r}")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise ValueError(f"cannot import {module!r} for {option}: {what(error)}") from None
    if not callable(getattr(found, name, None)):
        raise ValueError(f"{module!r} has no function {name!r} for {option}")
    function: Callable[..., Any] = getattr(found, name)
    return function


def what(error: Exception) -> str:
    """The kind of an error of the user's code, what it says, and where it comes from."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({Path(last[0].filename).name}, line {last[0].lineno})" if last else ""
    return f"{type(error).__name__}: {error}{where}"
