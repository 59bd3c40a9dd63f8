"""What is checked: pgcheck, its routes, its standard errors, its report."""

from agents.checks.answers import assert_close
from agents.checks.errors import episodes_for
from agents.checks.pgcheck import pgcheck
from agents.checks.plot import plot_reports
from agents.checks.report import Report, Row

__all__ = ["Report", "Row", "assert_close", "episodes_for", "pgcheck", "plot_reports"]
