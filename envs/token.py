"""Text as an MDP: a state is a prompt and what was written so far, an action is the next token.

The reward of a completion is paid with its last token, R_T = reward(prompt, completion), and all else pays 0. A
completion ends at the token `eos`, which it then contains, or at the horizon. The default instance (registered as
exactrl/Tokens-v0) has 15 completions for each of two prompts; its v* is known by looking at all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.answers import Answer, Entry
from envs.writing import PAD, Writing
from mdp import FiniteMDP

Tokens = tuple[int, ...]
Reward = Callable[[Tokens, Tokens], float]
END = "end"


class TokenMDP:
    """A problem of writing: vocabulary, horizon, prompts, and a reward for each completion.

    vocabulary            a size, or a sequence of strings
    horizon               the most tokens of a completion
    reward                reward(prompt, completion) -> float, both tuples of token ids
    prompts               tuples of token ids, of any lengths; by default one empty prompt
    prompt_probabilities  P(prompt), by default uniform
    eos                   the token (its id or its string) that ends a completion; None: only the horizon does

    Raises ValueError for a token that is none, a prompt that stands twice, a horizon or vocabulary below 1.

    >>> from envs import TokenMDP
    >>> from mdp import evaluate, solve
    >>> problem = TokenMDP("ab", 3, lambda prompt, completion: completion.count(0) / 3)  # the share of "a"
    >>> m = problem.finite()
    >>> m.n_states, m.states[:3]  # 1 + 2 + 4 prefixes, and the end
    (8, (((), ()), ((), (0,)), ((), (0, 0))))
    >>> round(evaluate(m, m.uniform_policy()).objective, 10), float(solve(m).v[0].round(10))
    (0.5, 1.0)
    """

    def __init__(
        self,
        vocabulary: int | Sequence[str],
        horizon: int,
        reward: Reward,
        *,
        prompts: Iterable[Sequence[int]] | None = None,
        prompt_probabilities: Sequence[float] | None = None,
        eos: int | str | None = None,
        gamma: float = 1.0,
    ) -> None:
        size = isinstance(vocabulary, (int, np.integer))
        self.vocabulary: tuple[int | str, ...] = tuple(range(index(vocabulary)) if size else vocabulary)  # type: ignore[arg-type]
        self.horizon, self.reward, self.gamma = horizon, reward, gamma
        self.prompts: tuple[Tokens, ...] = ((),) if prompts is None else tuple(tuple(map(index, x)) for x in prompts)
        self.prompt_probabilities = prompt_probabilities
        self.eos = self._token(eos) if isinstance(eos, str) else eos
        if horizon < 1 or not self.vocabulary or not self.prompts:
            raise ValueError(
                f"a horizon of {horizon}, {len(self.vocabulary)} tokens and {len(self.prompts)} prompts: "
                f"each must be at least 1"
            )
        if len(set(self.prompts)) != len(self.prompts):
            raise ValueError("a prompt stands twice; give it its probability once")
        for token in [*(x for prompt in self.prompts for x in prompt), *([] if self.eos is None else [self.eos])]:
            if not 0 <= token < len(self.vocabulary):
                raise ValueError(f"{token} is no token: the vocabulary has the ids 0 .. {len(self.vocabulary) - 1}")

    def _token(self, name: str) -> int:
        if name not in self.vocabulary:
            raise ValueError(f"{name!r} is not in the vocabulary")
        return self.vocabulary.index(name)

    def ends(self, completion: Tokens) -> bool:
        """The completion is over: it has the length of the horizon, or ends with eos."""
        return len(completion) == self.horizon or (bool(completion) and completion[-1] == self.eos)

    def observation(self, prompt: Tokens, completion: Tokens) -> NDArray[np.int64]:
        """Token ids, padded with -1 to (longest prompt + horizon,)."""
        ids = np.full(max(map(len, self.prompts)) + self.horizon, PAD)
        ids[: len(prompt) + len(completion)] = prompt + completion
        return ids

    def finite(
        self, max_states: int = 100_000, tokens: Callable[[NDArray[np.int64]], Iterable[int]] | None = None
    ) -> FiniteMDP:
        """The exact MDP: states (prompt, completion so far), and ONE terminal state, "end", last.

        Observations are token ids, padded with -1. tokens(observation) -> the ids that may follow; default all.
        Raises ValueError where there are more than max_states states, for a state that no token may follow, and for
        a reward that is not finite.
        """
        outcomes: dict[tuple[Any, int], list[tuple[float, Any, float]]] = {}
        waiting: list[tuple[Tokens, Tokens]] = [(prompt, ()) for prompt in reversed(self.prompts)]
        states: list[Any] = []
        while waiting:
            prompt, written = state = waiting.pop()
            states.append(state)
            if len(states) + len(waiting) >= max_states:
                raise ValueError(f"more than {max_states} states: a shorter horizon, tokens=, or a larger max_states")
            allowed = range(len(self.vocabulary)) if tokens is None else tokens(self.observation(*state))
            following = sorted({int(x) for x in allowed}, reverse=True)
            if not following:
                raise ValueError(f"no token may follow prompt {prompt} and completion {written}; eos ends a completion")
            for token in following:
                longer = (*written, token)
                over = self.ends(longer)
                reward = self.checked_reward(prompt, longer) if over else 0.0
                outcomes[state, token] = [(1.0, END if over else (prompt, longer), reward)]
                if not over:
                    waiting.append((prompt, longer))
        return FiniteMDP.from_outcomes(
            outcomes,
            gamma=self.gamma,
            start=self.start(),
            states=[*states, END],
            actions=range(len(self.vocabulary)),
            observations=[*(self.observation(*state) for state in states), self.observation((), ())],
        )

    def checked_reward(self, prompt: Tokens, completion: Tokens) -> float:
        """The reward, a finite number. Raises ValueError, with prompt and completion, where it is none or an error."""
        try:
            reward = float(self.reward(prompt, completion))
        except Exception as error:
            raise ValueError(
                f"the reward of prompt {prompt} and completion {completion} raised {type(error).__name__}: {error}"
            ) from error
        if not math.isfinite(reward):
            raise ValueError(f"the reward of prompt {prompt} and completion {completion} is {reward}, not finite")
        return reward

    def completions(self, max_completions: int = 1_000_000) -> list[Tokens]:
        """Every completion, shorter ones among them. Raises ValueError where there are more than max_completions."""
        whole: list[Tokens] = []
        waiting: list[Tokens] = [()]
        while waiting:
            written = waiting.pop()
            if len(whole) + len(waiting) > max_completions:
                raise ValueError(f"more than {max_completions:,} completions: a shorter horizon, fewer tokens")
            longer = [(*written, token) for token in reversed(range(len(self.vocabulary)))]
            whole += [x for x in reversed(longer) if self.ends(x)]
            waiting += [x for x in longer if not self.ends(x)]
        return whole

    def sequences(self, max_completions: int = 100_000) -> FiniteMDP:
        """The same problem read as one decision: states are prompts, actions whole completions, one step.

        R = gamma^(T-1) reward for a completion of T tokens, as it is worth when its first token is chosen.
        """
        whole = self.completions(max_completions)
        outcomes = {
            (prompt, x): [(1.0, END, self.gamma ** (len(x) - 1) * self.checked_reward(prompt, x))]
            for prompt in self.prompts
            for x in whole
        }
        start = {prompt: p for (prompt, _), p in self.start().items()}
        return FiniteMDP.from_outcomes(
            outcomes, gamma=self.gamma, start=start, states=[*self.prompts, END], actions=whole
        )

    def vector_env(self, n: int) -> Writing:
        """n copies that write at once, at any vocabulary size."""
        return Writing(self, n)

    def start(self) -> dict[Any, float]:
        """{(prompt, ()): P(prompt)}. Raises ValueError for probabilities that are none."""
        n = len(self.prompts)
        p = [1 / n] * n if self.prompt_probabilities is None else self.prompt_probabilities
        if len(p) != n:
            raise ValueError(f"{len(p)} prompt probabilities for {n} prompts")
        if min(p) < 0 or abs(sum(p) - 1) > 1e-9:
            raise ValueError(f"the prompt probabilities sum to {sum(p):.12g}, not 1, or one is negative")
        return {(prompt, ()): float(x) for prompt, x in zip(self.prompts, p, strict=True)}


def tokens(gamma: float = 1.0) -> FiniteMDP:
    """Three tokens "a", "b", "." (the end), at most three of them, after the prompt "a" or "b".

    A completion earns 1/2 for every token that repeats the prompt, 1 if it ends with ".", and -0.2 for its length.

    >>> from envs import tokens
    >>> from mdp import solve
    >>> float(solve(tokens()).v[0].round(10))  # "aa." after "a": 1/2 + 1/2 + 1 - .6
    1.4
    """

    def reward(prompt: Tokens, completion: Tokens) -> float:
        return completion.count(prompt[0]) / 2 + (completion[-1] == 2) - 0.2 * len(completion)

    return TokenMDP("ab.", 3, reward, prompts=[(0,), (1,)], eos=".", gamma=gamma).finite()


ENTRY = Entry(
    tokens,
    (Answer("optimal", 1.0, {((0,), ()): 1.4, ((1,), ()): 1.4}, "the prompt's token twice, then the end"),),
)
