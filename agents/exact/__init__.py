"""What is exactly true of a torch policy on a FiniteMDP: J, grad J, and the moments of REINFORCE."""

from agents.exact.moments import GradientMoments, gradient_moments
from agents.exact.natural import natural_gradient
from agents.exact.objective import exact_gradient, exact_objective, likelihood, regularised_objective

__all__ = [
    "GradientMoments",
    "exact_gradient",
    "exact_objective",
    "gradient_moments",
    "likelihood",
    "natural_gradient",
    "regularised_objective",
]
