"""What learns, and what checks it: softmax policies, losses, REINFORCE, exact gradients, pgcheck, audit.

Needs torch and `mdp`, and no environment. The way of the data: FiniteMDP -> policy -> episodes -> batch -> loss ->
gradient -> optimiser; beside it, from the same FiniteMDP, the exact gradient.
"""

from agents.audits import Audit, audit
from agents.checks import Report, Row, assert_close, episodes_for, pgcheck, plot_reports
from agents.exact import (
    GradientMoments,
    exact_gradient,
    exact_objective,
    gradient_moments,
    likelihood,
    natural_gradient,
    regularised_objective,
)
from agents.language import LanguageModelPolicy, load_model, load_tokenizer, random_model
from agents.learning import (
    ExactAscent,
    ExactEM,
    ExactValues,
    History,
    LearnedValues,
    Reinforce,
    TrainingStopped,
    plain_ascent,
    rollout,
    train,
)
from agents.losses import Batch, PolicyLoss, ReinforceLoss
from agents.policies import LinearPreferences, MLPPreferences, SoftmaxPolicy, TabularPreferences

__all__ = [
    "Audit",
    "Batch",
    "ExactAscent",
    "ExactEM",
    "ExactValues",
    "GradientMoments",
    "History",
    "LanguageModelPolicy",
    "LearnedValues",
    "LinearPreferences",
    "MLPPreferences",
    "PolicyLoss",
    "Reinforce",
    "ReinforceLoss",
    "Report",
    "Row",
    "SoftmaxPolicy",
    "TabularPreferences",
    "TrainingStopped",
    "assert_close",
    "audit",
    "episodes_for",
    "exact_gradient",
    "exact_objective",
    "gradient_moments",
    "likelihood",
    "load_model",
    "load_tokenizer",
    "natural_gradient",
    "pgcheck",
    "plain_ascent",
    "plot_reports",
    "random_model",
    "regularised_objective",
    "rollout",
    "train",
]
