"""Action preferences h_theta(s,a): torch modules from observations to (N, A). Sutton & Barto (2nd ed.), 13.1."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from mdp import FiniteMDP


class TabularPreferences(nn.Module):
    """h(o,a) = theta[o, a]: one parameter (O, A), zeros at first, so that the policy starts uniform.

    A row for each distinct observation of the MDP, in order of first appearance. States that look the same share one;
    with the default observations row and state have the same index, terminal states included (their rows get no
    gradient).

    >>> from agents import TabularPreferences
    >>> from envs import frozen_lake, short_corridor
    >>> tuple(TabularPreferences(frozen_lake()).theta.shape)  # 16 cells and the end, 4 actions
    (17, 4)
    >>> tuple(TabularPreferences(short_corridor()).theta.shape)  # all states look alike
    (1, 2)
    """

    def __init__(self, mdp: FiniteMDP, /) -> None:
        super().__init__()
        flat = mdp.observations.reshape(mdp.n_states, -1)
        _, first = np.unique(flat, axis=0, return_index=True)
        self.keys = torch.as_tensor(flat[np.sort(first)])  # no buffer: .float() would round it
        self.theta = nn.Parameter(torch.zeros(len(first), mdp.n_actions))

    def forward(self, observations: Tensor) -> Tensor:
        """h (N, A). Raises ValueError for an observation that the MDP has not."""
        return self.theta[self.row(observations)]

    def row(self, observations: Tensor) -> Tensor:
        """The row of theta, (N,), of each observation (N, ...)."""
        n, keys, seen = len(self.keys), self.keys, observations.reshape(len(observations), -1)
        if seen.shape[1] != keys.shape[1]:
            raise ValueError(f"observations of {seen.shape[1]} numbers; the table has observations of {keys.shape[1]}")
        wide = torch.promote_types(keys.dtype, seen.dtype)
        both = torch.cat([keys.to(seen.device, wide), seen.to(wide)])
        distinct, rank = torch.unique(both, dim=0, return_inverse=True)
        if len(distinct) > n:
            unknown = distinct[~torch.isin(torch.arange(len(distinct), device=rank.device), rank[:n])]
            raise ValueError(f"observation {unknown[0].tolist()} is not one of the {n} in the table")
        return torch.argsort(rank[:n])[rank[n:]]


class LinearPreferences(nn.Module):
    """h(o,a) = theta . x(o,a): one parameter (d,), zeros at first. S&B equation 13.3.

    features x: (O, A, d); an observation is an integer 0 .. O - 1.

    >>> from agents import LinearPreferences, SoftmaxPolicy, exact_gradient
    >>> from envs import short_corridor
    >>> policy = SoftmaxPolicy(LinearPreferences([[[0], [1]]])).double()  # x(left) = 0, x(right) = 1
    >>> exact_gradient(policy, short_corridor()).numpy().round(10).tolist()  # dJ/dtheta at p = 1/2
    [2.0]
    """

    features: Tensor

    def __init__(self, features: ArrayLike | Tensor, /) -> None:
        super().__init__()
        x = torch.as_tensor(features, dtype=torch.float64)  # rounded in `forward` alone, so that .double() is exact
        if x.ndim != 3:
            raise ValueError(f"features have shape {tuple(x.shape)}, not (O, A, d)")
        self.register_buffer("features", x)
        self.theta = nn.Parameter(torch.zeros(x.shape[2]))

    def forward(self, observations: Tensor) -> Tensor:
        """h (N, A). Raises ValueError for an observation that is no index of features."""
        return self.features[_indices(observations, len(self.features))].to(self.theta.dtype) @ self.theta


class MLPPreferences(nn.Module):
    """h(o, .) by a network with tanh layers: inputs -> hidden ... -> actions.

    Observations are vectors (N, inputs), taken as they are, or integers 0 .. inputs - 1, taken as one-hot vectors.
    The initial weights are drawn from `generator`: N(0, 1 / fan-in), biases 0.

    >>> import torch
    >>> from agents import MLPPreferences, SoftmaxPolicy, audit
    >>> from agents.losses import named
    >>> from envs import contextual_bandit
    >>> m = contextual_bandit()  # 4 states, seen as one-hot vectors
    >>> policy = SoftmaxPolicy(MLPPreferences(4, m.n_actions, generator=torch.Generator().manual_seed(0))).double()
    >>> audit(named.reinforce(), policy, m).verdict
    'exact'
    """

    def __init__(
        self, inputs: int, actions: int, *, hidden: Sequence[int] = (32,), generator: torch.Generator
    ) -> None:
        super().__init__()
        sizes = [inputs, *hidden, actions]
        self.layers = nn.ModuleList(
            nn.utils.skip_init(nn.Linear, m, n)  # type: ignore[no-untyped-call]
            for m, n in pairwise(sizes)  # whose own first weights would be drawn from the global generator
        )
        with torch.no_grad():
            for layer in self.layers:
                assert isinstance(layer, nn.Linear)
                layer.weight.normal_(0.0, layer.in_features**-0.5, generator=generator)
                layer.bias.zero_()

    def forward(self, observations: Tensor) -> Tensor:
        """h (N, A). Raises ValueError for observations of another size."""
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        if observations.ndim == 1:
            x = first.weight.T[_indices(observations, first.in_features)] + first.bias
        elif observations.shape[1:] == (first.in_features,):
            x = first(observations.to(first.weight.dtype))
        else:
            raise ValueError(f"observations of shape {tuple(observations.shape[1:])}, not ({first.in_features},)")
        for layer in self.layers[1:]:
            x = layer(torch.tanh(x))
        return x


def _indices(observations: Tensor, n: int) -> Tensor:
    if observations.ndim != 1 or observations.is_floating_point():
        raise ValueError(f"observations must be integers 0 .. {n - 1}, not {observations.dtype} of shape "
                         f"{tuple(observations.shape)}")
    if len(observations) and not 0 <= int(observations.min()) <= int(observations.max()) < n:
        raise ValueError(f"observations must lie in 0 .. {n - 1}, not {int(observations.min())} .. "
                         f"{int(observations.max())}")
    return observations


def as_tensor(x: Any, like: Tensor) -> Tensor:
    """An array or tensor on the device of `like`, its own dtype kept."""
    return torch.as_tensor(x if isinstance(x, Tensor) or np.asarray(x).flags.writeable else np.array(x)).to(like.device)
