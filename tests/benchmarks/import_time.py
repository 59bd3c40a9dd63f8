"""What `import mdp` costs beside `import numpy, scipy.sparse.linalg`, turn by turn in fresh processes.

    python tests/benchmarks/import_time.py [rounds]

Prints the medians of both in CPU seconds, and the median of the ratios of neighbouring runs.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

BASE, OURS = "import numpy, scipy.sparse.linalg", "import mdp"


def cpu_seconds(code: str) -> float:
    """User and system time of one fresh interpreter that runs `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    for code in (BASE, OURS):
        cpu_seconds(code)
    base, ours = zip(*((cpu_seconds(BASE), cpu_seconds(OURS)) for _ in range(rounds)), strict=True)
    ratio = statistics.median(y / x for x, y in zip(base, ours, strict=True))
    print(f"{BASE}: {statistics.median(base):.3f} s   {OURS}: {statistics.median(ours):.3f} s   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
