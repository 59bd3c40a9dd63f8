"""Episodes in parts: `rows` takes some, `joined` puts parts together, and nothing is changed on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mdp import Episodes, discounted_return, simulate
from mdp.sampling.episodes import joined
from tests.worlds import random_mdp, random_policy

FIELDS = ("states", "actions", "rewards", "mask", "behaviour_log_probs")
ENDS = ("lengths", "terminated", "truncated")


def played(seed: int = 0, n: int = 12, gamma: float = 0.9) -> Episodes:
    """Episodes of different lengths, some cut off, whose log-probabilities tell row and step."""
    m = random_mdp(3, gamma=gamma)
    e = simulate(m, random_policy(m, 0), n, rng=np.random.default_rng(11 + seed), max_steps=4)
    log_probs = np.where(e.mask, -1.0 - np.arange(n)[:, None] - np.arange(e.rewards.shape[1]) / 100, 0.0)
    return replace(e, group=np.arange(n) // 4, behaviour_log_probs=log_probs)


def assert_equal(actual: Episodes, expected: Episodes) -> None:
    """Everything that a reader sees, bit by bit; what was seen after the end means nothing. Groups: who is together."""
    for name in (*FIELDS, *ENDS):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), err_msg=name)
    mask = expected.mask
    np.testing.assert_array_equal(actual.observations[mask], expected.observations[mask])
    assert actual.admissible is not None
    assert expected.admissible is not None
    np.testing.assert_array_equal(actual.admissible[mask], expected.admissible[mask])
    assert actual.gamma == expected.gamma
    together = [x.group[:, None] == x.group for x in (actual, expected)]
    np.testing.assert_array_equal(*together)


def test_the_episodes_here_can_tell_a_mistake() -> None:
    e = played()
    assert len(set(e.lengths)) > 2
    assert e.truncated.any()
    assert e.terminated.any()
    assert e.choices is not None
    assert not e.choices.all()


@pytest.mark.parametrize("index", [slice(3, 7), slice(None), np.array([5]), np.array([11, 0, 5, 5]), np.arange(12) > 8])
def test_rows(index: Any) -> None:
    e = played()
    some = e.rows(index)
    T = max(e.lengths[index])
    assert some.rewards.shape == (len(e.lengths[index]), T)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(some, name), getattr(e, name)[index][:, :T], err_msg=name)
    for name in (*ENDS, "group"):
        np.testing.assert_array_equal(getattr(some, name), getattr(e, name)[index], err_msg=name)
    np.testing.assert_array_equal(some.observations, e.observations[index][:, :T])
    np.testing.assert_array_equal(discounted_return(some.rewards, 0.9), discounted_return(e.rewards, 0.9)[index])


def test_no_rows() -> None:
    none = played().rows(np.arange(0))
    assert len(none) == 0
    assert none.rewards.shape == (0, 0)
    assert_equal(joined([none, played()]), played())


def test_rows_without_behaviour() -> None:
    e = replace(played(), behaviour_log_probs=None)
    assert e.rows(slice(2)).behaviour_log_probs is None


@pytest.mark.parametrize("cuts", [[4], [8], [4, 8], [], [0, 4, 4]])
def test_what_was_cut_between_groups_is_joined(cuts: list[int]) -> None:
    e = played()
    parts = [e.rows(at) for at in np.split(np.arange(len(e)), cuts)]
    assert_equal(joined(parts), e)


def test_rows_undo_joined() -> None:
    first, second = played(1), played(2, n=8)
    both = joined([first, second])
    assert len(both) == 20
    assert both.rewards.shape[1] == max(first.lengths.max(), second.lengths.max())
    assert_equal(both.rows(slice(12)), first)
    assert_equal(both.rows(slice(12, 20)), second)


def test_groups_of_different_parts_stay_apart() -> None:
    """Parts number their groups from 0 each; a later part's numbers follow those before it."""
    first, second = played(1), played(2)
    both = joined([first, second.rows(slice(4, 8)), second])
    sizes = np.unique(both.group, return_counts=True)[1]
    np.testing.assert_array_equal(sizes, np.full(7, 4))
    np.testing.assert_array_equal(both.group[:12], first.group)


def test_padding_is_that_of_episodes() -> None:
    both = joined([played(1).rows(np.array([0])), played(1)])
    after = ~both.mask
    assert after.any()
    assert (both.states[after] == -1).all()
    assert (both.actions[after] == 0).all()
    assert (both.rewards[after] == 0).all()
    assert both.behaviour_log_probs is not None
    assert (both.behaviour_log_probs[after] == 0).all()


def test_sights_of_parts_are_their_own() -> None:
    """Two parts that saw the same numbers mean different things by them."""
    first, second = played(1), replace(played(2), sights=played(2).sights + 100)
    both = joined([first, second])
    assert_equal(both.rows(slice(12)), first)
    assert_equal(both.rows(slice(12, 24)), second)


def test_behaviour_is_kept_where_all_have_it() -> None:
    e = played()
    assert joined([e, replace(e, behaviour_log_probs=None)]).behaviour_log_probs is None


@pytest.mark.parametrize(("changes", "message"), [({"gamma": 0.5}, "discounts"), ({"choices": None}, "admissible")])
def test_parts_of_different_problems_are_refused(changes: dict[str, Any], message: str) -> None:
    e = played()
    with pytest.raises(ValueError, match=message):
        joined([e, replace(e, **changes)])
