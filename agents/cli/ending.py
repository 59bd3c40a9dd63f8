"""How a command ends. What goes wrong is one line on stderr: a mistake of the user's with exit code 2, a fault of the
machine (a disk that is full, a process that is gone) with 1, as what fails a check; an interrupt is exit code 130.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import torch
import typer

from agents.learning.processes import ProcessLost

INTERRUPTED = 130  # typer's own exit code after ctrl-C
ALLOCATOR = "DefaultCPUAllocator: "  # torch's, whose errors have no kind of their own
UsageError: Any = typer.BadParameter.__base__  # of every mistake in the arguments; typer does not export it


def end(command: Callable[[], Any]) -> NoReturn:
    """Run it, and leave the process with its exit code."""
    try:
        code = command()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except (MemoryError, torch.OutOfMemoryError) as error:
        fail(f"not enough memory: {error}", 2)
    except UsageError as error:
        fail(error.format_message(), 2)
    except (OSError, ProcessLost) as error:
        fail(str(error), 1)
    except (ValueError, TypeError, OverflowError) as error:
        fail(str(error), 2)
    except RuntimeError as error:
        if ALLOCATOR not in str(error):
            raise
        fail(f"not enough memory: {str(error).rpartition(ALLOCATOR)[2]}", 2)
    if code == INTERRUPTED:
        fail("interrupted", code)
    sys.exit(code)


def fail(message: str, code: int) -> NoReturn:
    """Say what went wrong, in one line."""
    print(f"exactrl: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
