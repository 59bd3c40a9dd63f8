"""Returns against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdp import discounted_return, returns_to_go
from tests.worlds import assert_close, discounted_sum

REWARDS = st.lists(st.floats(-10, 10), min_size=0, max_size=8)
GAMMA = st.sampled_from([0.0, 0.5, 0.99, 1.0])


@given(REWARDS, GAMMA)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_one_episode(rewards: list[float], gamma: float) -> None:
    R = tuple(rewards)
    expected = [discounted_sum(R[t:], gamma) for t in range(len(R))]
    assert_close(returns_to_go(rewards, gamma), np.array(expected), 1e-12) if R else None
    assert returns_to_go(rewards, gamma).shape == (len(R),)
    assert_close(discounted_return(rewards, gamma), discounted_sum(R, gamma), 1e-12)


def test_time_is_the_last_axis() -> None:
    R = np.random.default_rng(0).normal(size=(2, 3, 5))
    G = returns_to_go(R, 0.9)
    assert G.shape == R.shape
    assert discounted_return(R, 0.9).shape == (2, 3)
    assert_close(discounted_return(R, 0.9), G[..., 0], 1e-13)
    assert_close(G[1, 2], returns_to_go(R[1, 2], 0.9), 1e-15)


def test_what_lies_beyond_the_mask_is_not_read() -> None:
    G = returns_to_go([[1.0, 2.0, np.nan], [1.0, 1.0, 1.0]], 0.5, mask=[[True, True, False], [True] * 3])
    assert G.tolist() == [[2.0, 2.0, 0.0], [1.75, 1.5, 1.0]]


def test_whole_numbers() -> None:
    assert returns_to_go([0, 1, 3], 0.5).tolist() == [1.25, 2.5, 3.0]
    assert discounted_return([0, 1, 3], 0.5) == 1.25


def test_the_rewards_stay_as_they_were() -> None:
    R = np.ones(3)
    returns_to_go(R, 1)
    assert R.tolist() == [1, 1, 1]


@pytest.mark.parametrize("gamma", [-0.1, 1.1, np.nan])
@pytest.mark.parametrize("function", [returns_to_go, discounted_return])
def test_gamma_outside(function: object, gamma: float) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match=rf"gamma must lie in \[0, 1\], not {gamma}"):
        function([1.0], gamma)


def test_shapes() -> None:
    with pytest.raises(ValueError, match=r"mask has shape \(2,\), rewards \(3,\)"):
        returns_to_go([1, 2, 3], 1, mask=[True, False])
    with pytest.raises(ValueError, match="rewards need a time axis"):
        returns_to_go(1.0, 1)
    with pytest.raises(ValueError, match="rewards need a time axis"):
        discounted_return(1.0, 1)
