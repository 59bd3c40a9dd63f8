"""`exactrl verify --self-test`: would the checks notice a mistake, and would they leave what is right alone?"""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from agents.selftest import SelfTest, self_test


def run(console: Console) -> SelfTest:
    """The self-test with a progress bar."""
    columns = (TextColumn("self-test"), BarColumn(), MofNCompleteColumn(), TextColumn("audits"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("")
        try:
            return self_test(progress=lambda done, total: bar.update(task, completed=done, total=total))
        except KeyboardInterrupt:
            console.print(f"{bar.tasks[task].completed:.0f} audits were made; a verdict takes all", highlight=False)
            raise


def table(found: SelfTest) -> Table:
    """One row a loss."""
    out = Table(title="the checks, checked", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("loss", "must be", "was, in", ""):
        out.add_column(column, justify="right" if column == "was, in" else "left", no_wrap=True)
    for what, outcomes in (("planted mistakes", found.mistakes), ("correct losses", found.correct)):
        out.add_row(f"[bold]{what}")
        for x in outcomes:
            verdict = "[green]ok" if x.passed else f"[red]FAIL, first in world {x.first_wrong}"
            out.add_row(f"  {x.name}", x.expected, f"{x.right} of {x.worlds}", verdict)
        out.add_section()
    return out


def summary(found: SelfTest) -> str:
    """The counts."""
    caught, accepted = sum(x.passed for x in found.mistakes), sum(x.passed for x in found.correct)
    worlds = found.correct[0].worlds
    audits = sum(x.worlds for x in found.correct)
    alarms = audits - sum(x.right for x in found.correct)
    return (
        f"{caught} of {len(found.mistakes)} planted mistakes are rejected, each on {found.mistakes[0].worlds} random "
        f"MDPs;\n{accepted} of {len(found.correct)} correct losses are accepted on all of {worlds} random MDPs: "
        f"{alarms} false alarms in {audits:,} audits"
    )
