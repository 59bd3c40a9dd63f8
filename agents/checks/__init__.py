"""What is checked: J and its gradient exactly, the exact moments of REINFORCE, and pgcheck."""

from agents.checks.errors import episodes_for
from agents.checks.moments import GradientMoments, gradient_moments
from agents.checks.objective import exact_gradient, exact_objective, regularised_objective
from agents.checks.pgcheck import pgcheck
from agents.checks.plot import plot_reports
from agents.checks.report import Report, Row

__all__ = [
    "GradientMoments",
    "Report",
    "Row",
    "episodes_for",
    "exact_gradient",
    "exact_objective",
    "gradient_moments",
    "pgcheck",
    "plot_reports",
    "regularised_objective",
]
