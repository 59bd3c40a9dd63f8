"""What is minimised: pure functions of a batch."""

from agents.losses.batch import Batch
from agents.losses.composed import PolicyLoss
from agents.losses.reinforce import ReinforceLoss
from agents.losses.returns import discounts, negligible_after, returns_to_go

__all__ = ["Batch", "PolicyLoss", "ReinforceLoss", "discounts", "negligible_after", "returns_to_go"]
