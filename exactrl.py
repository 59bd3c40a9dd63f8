"""The console script `exactrl`. ctrl-C ends it with one line and exit code 130 from the first moment: importing torch
takes seconds, and an interrupt within an import is a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    """Import the commands, with nothing begun that an interrupt could leave half done; then `agents.cli.main`."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as in a shell's background
    if not ignored:
        signal.signal(signal.SIGINT, _end)
    from agents.cli import main as front_door

    if not ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        front_door()
    finally:
        if sys.stdout is not None:  # closed by the shell: >&-
            sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said and written


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    os.write(2, b"exactrl: interrupted\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
