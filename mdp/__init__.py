"""Finite Markov decision processes: the table p(s',r|s,a) and everything that is exactly true of it.

numpy and scipy alone. Notation is that of Sutton & Barto, 2nd edition.
"""

from mdp.control.average import AverageSolution, solve_average
from mdp.control.em import em_step, return_weighted_visits
from mdp.control.solving import Solution, SolveInterrupted, solve
from mdp.gradient.baselines import BestBaselines, best_baselines
from mdp.gradient.moments import Moments, reinforce_moments, return_variance
from mdp.gradient.theorem import complex_step, natural_policy_gradient, policy_gradient, softmax_policy
from mdp.model.finite import FiniteMDP
from mdp.model.unrolling import unroll
from mdp.prediction.evaluation import Evaluation, evaluate, occupancy, sweeps
from mdp.prediction.gain import AverageReward, average_reward
from mdp.sampling.enumeration import Trajectory, count_trajectories, enumerate_trajectories, longest_trajectory
from mdp.sampling.episodes import Episodes
from mdp.sampling.returns import discounted_return, returns_to_go
from mdp.sampling.simulation import Simulator, simulate
from mdp.sampling.statistics import Statistics

__all__ = [
    "AverageReward",
    "AverageSolution",
    "BestBaselines",
    "Episodes",
    "Evaluation",
    "FiniteMDP",
    "Moments",
    "Simulator",
    "Solution",
    "SolveInterrupted",
    "Statistics",
    "Trajectory",
    "average_reward",
    "best_baselines",
    "complex_step",
    "count_trajectories",
    "discounted_return",
    "em_step",
    "enumerate_trajectories",
    "evaluate",
    "longest_trajectory",
    "natural_policy_gradient",
    "occupancy",
    "policy_gradient",
    "reinforce_moments",
    "return_variance",
    "return_weighted_visits",
    "returns_to_go",
    "simulate",
    "softmax_policy",
    "solve",
    "solve_average",
    "sweeps",
    "unroll",
]
