"""Two processes of this machine under torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SETTINGS = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "COLUMNS": "500"}
RUN = (
    "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0",
    "--local-addr", "127.0.0.1",
)  # fmt: skip  # it takes a port that is free, and keeps it


def torchrun(*arguments: str, seconds: float) -> tuple[int, str]:
    """Exit code, and what is printed. The processes are gone afterwards, whatever happens."""
    process = subprocess.Popen(
        [sys.executable, "-m", *RUN, *arguments], env=os.environ | SETTINGS, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=seconds)
    except BaseException:
        process.terminate()  # torchrun then ends its workers
        try:
            process.wait(timeout=40)
        finally:
            process.kill()
        raise
    return process.returncode, output
