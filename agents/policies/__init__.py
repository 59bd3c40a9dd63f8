"""What acts: preferences, and the softmax over them."""

from agents.policies.preferences import LinearPreferences, MLPPreferences, TabularPreferences
from agents.policies.softmax import SoftmaxPolicy

__all__ = ["LinearPreferences", "MLPPreferences", "SoftmaxPolicy", "TabularPreferences"]
