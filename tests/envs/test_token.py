"""TokenMDP: the tree of completions, and J by looking at all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from envs import TokenMDP
from envs.token import Tokens
from mdp import FiniteMDP, evaluate, solve
from tests.worlds import assert_close


def reward(prompt: Tokens, completion: Tokens) -> float:
    """Of all tokens and their places."""
    return float(sum((k + 1) * (x + 1) ** 2 for k, x in enumerate((*prompt, *completion)))) / 10


def completions(vocabulary: int, horizon: int, eos: int | None) -> list[Tokens]:
    """Every sequence that ends at eos or at the horizon, once."""
    cut = set()
    for full in product(range(vocabulary), repeat=horizon):
        cut.add(full[: full.index(eos) + 1] if eos is not None and eos in full else full)
    return sorted(cut)


@pytest.mark.parametrize("eos", [None, 0, 2])
@pytest.mark.parametrize(("vocabulary", "horizon"), [(3, 1), (3, 3), (4, 2)])
def test_brute_force(vocabulary: int, horizon: int, eos: int | None) -> None:
    """J of the uniform policy: a completion of T tokens has probability V^-T."""
    prompts, p = [(0,), (1, 2), ()], [0.5, 0.25, 0.25]
    m = TokenMDP(vocabulary, horizon, reward, prompts=prompts, prompt_probabilities=p, eos=eos).finite()
    whole = completions(vocabulary, horizon, eos)
    assert_close(sum(vocabulary ** -len(x) for x in whole), 1.0, 1e-14)
    J = sum(q * vocabulary ** -len(x) * reward(o, x) for o, q in zip(prompts, p, strict=True) for x in whole)
    assert_close(evaluate(m, m.uniform_policy()).objective, J, 1e-13)
    best = [max(reward(o, x) for x in whole) for o in prompts]
    assert_close([solve(m).v[m.state_index((o, ()))] for o in prompts], best, 1e-13)


@pytest.mark.parametrize(("eos", "inner"), [(None, 1 + 3 + 9), (2, 1 + 2 + 4)])
def test_states(eos: int | None, inner: int) -> None:
    """Every completion that goes on is a state, and all that are over are ONE."""
    m = TokenMDP(3, 3, reward, prompts=[(0,), (1,)], eos=eos).finite()
    assert m.n_states == 2 * inner + 1
    assert m.states[-1] == "end"
    assert m.terminal.tolist() == [False] * (2 * inner) + [True]
    assert m.actions == (0, 1, 2)


def test_the_reward_comes_with_the_last_token() -> None:
    m = TokenMDP(3, 3, reward, prompts=[(1,)], eos=2, gamma=0.5).finite()
    prompt = (1,)
    assert m.outcomes((prompt, ()), 0) == [(1.0, (prompt, (0,)), 0.0)]
    assert m.outcomes((prompt, (0,)), 2) == [(1.0, "end", reward(prompt, (0, 2)))]  # eos belongs to the completion
    assert m.outcomes((prompt, (0, 1)), 0) == [(1.0, "end", reward(prompt, (0, 1, 0)))]
    assert m.gamma == 0.5


def test_observations_are_padded_token_ids() -> None:
    m = TokenMDP(3, 2, reward, prompts=[(0,), (1, 2, 2)]).finite()
    seen = {s: m.observations[k].tolist() for k, s in enumerate(m.states)}
    assert seen[(0,), ()] == [0, -1, -1, -1, -1]
    assert seen[(0,), (2,)] == [0, 2, -1, -1, -1]
    assert seen[(1, 2, 2), (0,)] == [1, 2, 2, 0, -1]
    assert seen["end"] == [-1] * 5
    assert m.observations.dtype == np.int64


@pytest.mark.parametrize(("p", "start"), [(None, [0.5, 0.5]), ([0.3, 0.7], [0.3, 0.7]), ([0.0, 1.0], [0.0, 1.0])])
def test_prompt_probabilities(p: list[float] | None, start: list[float]) -> None:
    m = TokenMDP(2, 1, reward, prompts=[(0,), (1,)], prompt_probabilities=p).finite()
    assert m.start.tolist() == [*start, 0]
    assert m.states == (((0,), ()), ((1,), ()), "end")


def test_one_empty_prompt_by_default() -> None:
    m = TokenMDP(2, 2, reward).finite()
    assert m.states[0] == ((), ())
    assert m.start[0] == 1


def test_named_tokens() -> None:
    problem = TokenMDP(["yes", "no", "<end>"], 3, reward, eos="<end>")
    assert problem.eos == 2
    assert problem.ends((0, 2))
    assert not problem.ends((0, 1))
    assert problem.ends((0, 1, 0))
    assert not problem.ends(())


def only(*ids: int) -> Callable[[NDArray[np.int64]], Iterable[int]]:
    return lambda _: ids


def test_tokens_restrict_the_tree() -> None:
    """Two of 49,152 tokens, four steps: 15 states and the end."""
    m = TokenMDP(49_152, 4, lambda _, x: float(x.count(7)), prompts=[(5,)]).finite(tokens=only(7, 40_000))
    assert m.n_states == 1 + 2 + 4 + 8 + 1
    assert np.flatnonzero(m.admissible[0]).tolist() == [7, 40_000]
    assert solve(m).v[0] == 4
    assert_close(evaluate(m, m.uniform_policy()).objective, 2.0)


def test_tokens_see_the_observation() -> None:
    """Each token once: 3! completions, by a rule that reads what was written."""
    left = TokenMDP(3, 3, reward).finite(tokens=lambda seen: sorted({0, 1, 2} - set(seen.tolist())))
    assert left.n_states == 1 + 3 + 6 + 1
    assert left.admissible.sum() == 3 + 6 + 6


@pytest.mark.parametrize("most", [14, 15])
def test_max_states(most: int) -> None:
    """13 prefixes and the end."""
    problem = TokenMDP(3, 3, reward)
    assert problem.finite(max_states=most).n_states == 14
    with pytest.raises(ValueError, match=f"more than {13} states"):
        problem.finite(max_states=13)


def test_too_large_a_tree_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="more than 1000 states"):
        TokenMDP(50, 100, reward).finite(max_states=1000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 0}, "a horizon of 0, 3 tokens and 1 prompts: each must be at least 1"),
        ({"vocabulary": 0}, "0 tokens"),
        ({"vocabulary": []}, "0 tokens"),
        ({"prompts": []}, "0 prompts"),
        ({"prompts": [(0,), (0,)]}, "a prompt stands twice"),
        ({"prompts": [(3,)]}, r"3 is no token: the vocabulary has the ids 0 \.\. 2"),
        ({"prompts": [(-1,)]}, "-1 is no token"),
        ({"eos": 3}, "3 is no token"),
        ({"eos": "."}, r"'\.' is not in the vocabulary"),
        ({"prompt_probabilities": [0.5, 0.5]}, "2 prompt probabilities for 1 prompts"),
        ({"prompt_probabilities": [0.5]}, r"sum to 0\.5, not 1"),
        ({"reward": lambda *_: np.nan}, "is nan, not finite"),
        ({"gamma": 2}, r"gamma must lie in \[0, 1\], not 2"),
    ],
)
def test_bad_problems(arguments: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"vocabulary": 3, "horizon": 2, "reward": reward}
    with pytest.raises(ValueError, match=message):
        TokenMDP(**(good | arguments)).finite()


@pytest.mark.parametrize(
    ("ids", "message"), [((), "no token may follow prompt .* completion"), ((5,), "unknown action 5")]
)
def test_bad_restrictions(ids: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenMDP(3, 2, reward).finite(tokens=only(*ids))


def test_it_is_a_finite_mdp() -> None:
    assert isinstance(TokenMDP(2, 1, reward).finite(), FiniteMDP)


def test_token_ids_are_integers() -> None:
    def nothing(prompt: tuple[int, ...], completion: tuple[int, ...]) -> float:
        return 0.0 * len(prompt + completion)

    with pytest.raises(TypeError, match="integer"):
        TokenMDP(3, 2, nothing, prompts=[(0.7,)])  # type: ignore[list-item]
    assert TokenMDP(np.int64(3), 1, nothing).vocabulary == (0, 1, 2)  # type: ignore[arg-type]
