"""What is minimised: pure functions of a batch."""

from agents.losses.batch import Batch
from agents.losses.reinforce import ReinforceLoss, discounts, known_states, negligible_after, returns_to_go

__all__ = ["Batch", "ReinforceLoss", "discounts", "known_states", "negligible_after", "returns_to_go"]
