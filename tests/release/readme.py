"""The README, run where it is read: its Python examples, and its commands. `make release` does it where the wheel is
installed and nothing else is.

    python -I tests/release/readme.py README.md      # from an empty folder; -I: of this repository nothing is imported
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

SHARE = Path(sysconfig.get_path("data")) / "share" / "exactrl" / "tutorials"
STANDS_FOR = {
    "[ENV ...]": "", "[ENV]": "", "audit ENV": "audit exactrl/Tokens-v0", "ENV": "exactrl/Gridworld4x4-v0",
    "[N]": "", "FILE ...": str(SHARE / "assignments" / "a1_values.py"), "module:function": "mine:mine",
}  # fmt: skip
NEEDS_MORE = ("--model", "--library")  # SmolLM2, whose 0.5 GB `make model` fetches; the extra bench
FAILS = ("grade",)  # an assignment as it is handed out


def blocks(readme: str) -> list[str]:
    """The Python examples."""
    return re.findall(r"```python\n(.*?)```", readme, re.DOTALL)


def examples(readme: str) -> None:
    """They run, one after the other, as a reader would run them, and print what their comments say."""
    codes = blocks(readme)
    assert len(codes) == 5
    names: dict[str, object] = {}
    printed = []
    for code in codes:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, "README.md", "exec"), names)
        printed.append(out.getvalue())
    for said in re.findall(r"# (-6\.\d+|\[[^\]]*\])", codes[0]):
        assert said in printed[0]
    assert ": pass" in printed[0]
    assert ": FAIL" in printed[0]
    said = [*re.findall(r"^# (\w+ [\d.]+ [\d.]+)$", codes[1], re.MULTILINE), "biased"]
    assert printed[1].splitlines() == said
    assert printed[2].splitlines()[:2] == ["pass", "exact"]
    assert printed[2].splitlines()[2].startswith("torch.Size([8, ")
    assert f"# {float(printed[3].splitlines()[0]):.2f}: " in codes[3]
    assert f"# {printed[3].splitlines()[1]}" in codes[3]
    assert printed[4].splitlines() == ["True", "(10, 50, 3)"]


def commands(readme: str) -> list[list[str]]:
    """Of its section on the command line, as they can be run."""
    section = readme.partition("## The command line")[2].partition("\n## ")[0]
    found = []
    for line in re.findall(r"^exactrl .*?(?=\s+#)", section, re.MULTILINE):
        for written, given in STANDS_FOR.items():
            line = line.replace(written, given)
        found.append(shlex.split(line))
    return found


def run(command: list[str]) -> str:
    """What happened: nothing, or the exit code and the end of what was printed, where it is not the right one."""
    began = time.monotonic()
    program = str(Path(sys.executable).with_name(command[0]))
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True)
    right = done.returncode == (command[1] in FAILS)
    print(f"{'ok  ' if right else 'FAIL'} {time.monotonic() - began:6.1f} s  {shlex.join(command)}", flush=True)
    return "" if right else f"{shlex.join(command)}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}"


def main(readme: str) -> None:
    examples(readme)
    print(f"ok: {len(blocks(readme))} Python examples")
    Path("mine.py").write_text(blocks(readme)[1])
    listed = commands(readme)
    possible = [x for x in listed if not set(x) & set(NEEDS_MORE)]
    faults = list(filter(None, map(run, possible)))
    for command in (x for x in listed if x not in possible):
        print(f"not run: {shlex.join(command)}")
    sys.exit("\n".join(faults) or None)


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_text())
