"""Finite Markov decision processes: the table p(s',r|s,a) and everything that is exactly true of it.

numpy and scipy alone. Notation is that of Sutton & Barto, 2nd edition.
"""

from mdp.control.solving import Solution, solve
from mdp.gradient.moments import Moments, reinforce_moments, return_variance
from mdp.gradient.theorem import complex_step, policy_gradient, softmax_policy
from mdp.model.finite import FiniteMDP
from mdp.model.unrolling import unroll
from mdp.prediction.evaluation import Evaluation, evaluate, occupancy, sweeps
from mdp.sampling.enumeration import Trajectory, count_trajectories, enumerate_trajectories
from mdp.sampling.episodes import Episodes
from mdp.sampling.returns import discounted_return, returns_to_go
from mdp.sampling.simulation import Simulator, simulate

__all__ = [
    "Episodes",
    "Evaluation",
    "FiniteMDP",
    "Moments",
    "Simulator",
    "Solution",
    "Trajectory",
    "complex_step",
    "count_trajectories",
    "discounted_return",
    "enumerate_trajectories",
    "evaluate",
    "occupancy",
    "policy_gradient",
    "reinforce_moments",
    "return_variance",
    "returns_to_go",
    "simulate",
    "softmax_policy",
    "solve",
    "sweeps",
    "unroll",
]
