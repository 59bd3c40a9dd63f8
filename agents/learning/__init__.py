"""How it learns: rollouts, REINFORCE, exact ascent, training."""

from agents.learning.reinforce import Agent, ExactAscent, ExactValues, LearnedValues, Reinforce, plain_ascent
from agents.learning.rollout import rollout
from agents.learning.training import History, TrainingStopped, train

__all__ = [
    "Agent",
    "ExactAscent",
    "ExactValues",
    "History",
    "LearnedValues",
    "Reinforce",
    "TrainingStopped",
    "plain_ascent",
    "rollout",
    "train",
]
