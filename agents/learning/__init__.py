"""How it learns: rollouts, REINFORCE, exact ascent, training."""

from agents.learning.exactly import ExactAscent, ExactEM
from agents.learning.reinforce import ExactValues, LearnedValues, Reinforce
from agents.learning.rollout import rollout
from agents.learning.steps import Agent, plain_ascent
from agents.learning.training import History, TrainingStopped, train

__all__ = [
    "Agent",
    "ExactAscent",
    "ExactEM",
    "ExactValues",
    "History",
    "LearnedValues",
    "Reinforce",
    "TrainingStopped",
    "plain_ascent",
    "rollout",
    "train",
]
