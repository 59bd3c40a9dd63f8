"""What is exactly true of a torch policy on a FiniteMDP: J, grad J, and the moments of REINFORCE."""

from agents.exact.moments import GradientMoments, gradient_moments
from agents.exact.objective import exact_gradient, exact_objective, regularised_objective

__all__ = ["GradientMoments", "exact_gradient", "exact_objective", "gradient_moments", "regularised_objective"]
