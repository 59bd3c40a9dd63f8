"""The checks are checked: planted mistakes must be rejected, correct losses accepted."""

from agents.selftest.mistakes import MISTAKES, Mistake
from agents.selftest.run import Outcome, SelfTest, self_test

__all__ = ["MISTAKES", "Mistake", "Outcome", "SelfTest", "self_test"]
