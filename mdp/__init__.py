"""Finite Markov decision processes: the table p(s',r|s,a) and everything that is exactly true of it.

numpy and scipy alone. Notation is that of Sutton & Barto, 2nd edition.
"""

from mdp.control import Solution, solve
from mdp.enumeration import Trajectory, enumerate_trajectories
from mdp.episodes import Episodes
from mdp.evaluation import Evaluation, evaluate, occupancy, sweeps
from mdp.finite import FiniteMDP
from mdp.gradient import complex_step, policy_gradient, softmax_policy
from mdp.moments import Moments, reinforce_moments, return_variance
from mdp.returns import discounted_return, returns_to_go
from mdp.simulation import Simulator, simulate
from mdp.unrolling import unroll

__all__ = [
    "Episodes",
    "Evaluation",
    "FiniteMDP",
    "Moments",
    "Simulator",
    "Solution",
    "Trajectory",
    "complex_step",
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
