"""Two small tasks of text, every prefix a state: the rewards of `envs.rewards` on a vocabulary of a few characters.

Brackets: after "(" write "(" and ")" until all are closed, at most five, or "." to stop. 1 where they are, else 0. The
ways to close with k closing brackets are the Catalan numbers 1, 2, 5, so the uniform policy is worth

    1 / 3^2 + 2 / 3^4 + 5 / 3^5 = 38 / 243

for the first two have to write ".", and five characters are the end anyway.

Addition: after "a+b=", a and b from 0, 1, 2, one digit and "." are right: 1 of 8 tokens, twice, 1/64 for the uniform
policy. v* = 1 in both.
"""

from __future__ import annotations

from itertools import product

from envs.answers import Answer, Entry
from envs.rewards import TextReward, addition, brackets, on_text, spelled
from envs.token import TokenMDP
from mdp import FiniteMDP


def _spelled_task(vocabulary: str, horizon: int, reward: TextReward, prompts: list[str], gamma: float) -> FiniteMDP:
    """Text of one-letter tokens, of which the last, ".", ends it."""
    eos = len(vocabulary) - 1
    ids = [tuple(map(vocabulary.index, prompt)) for prompt in prompts]
    scored = on_text(reward, spelled(vocabulary, eos))
    return TokenMDP(vocabulary, horizon, scored, prompts=ids, eos=eos, gamma=gamma).finite()


def token_brackets(gamma: float = 1.0) -> FiniteMDP:
    """Tokens "(", ")", "."; the prompt "(" and up to five tokens.

    >>> from envs import token_brackets
    >>> from mdp import evaluate
    >>> m = token_brackets()
    >>> round(evaluate(m, m.uniform_policy()).objective, 10)  # 38/243, by Catalan numbers
    0.1563786008
    """
    return _spelled_task("().", 5, brackets, ["("], gamma)


def token_addition(gamma: float = 1.0) -> FiniteMDP:
    """Tokens "0" .. "4", "+", "=", "."; nine prompts like "1+2=" and up to two tokens.

    >>> from envs import token_addition
    >>> from mdp import evaluate
    >>> m = token_addition()
    >>> round(evaluate(m, m.uniform_policy()).objective, 10)  # 1/64: one token of eight, twice
    0.015625
    """
    return _spelled_task("01234+=.", 2, addition, [f"{a}+{b}=" for a, b in product(range(3), repeat=2)], gamma)


BRACKETS = Entry(
    token_brackets,
    (
        Answer("uniform", 1.0, {((0,), ()): 38 / 243, ((0,), (1,)): 1 / 3 + 1 / 3**3 + 2 / 3**4}, "Catalan numbers"),
        Answer("optimal", 1.0, {((0,), ()): 1, ((0,), (0, 0, 0)): 0}, "closed in time, or not"),
        Answer("optimal", 0.9, {((0,), ()): 0.9}, 'two tokens, ")."'),
    ),
)
PROMPT = (1, 5, 2, 6)  # 1+2=
ADDITION = Entry(
    token_addition,
    (
        Answer("uniform", 1.0, {(PROMPT, ()): 1 / 64, (PROMPT, (3,)): 1 / 8, (PROMPT, (4,)): 0}, "one token of eight"),
        Answer("optimal", 1.0, {(PROMPT, ()): 1, (PROMPT, (3,)): 1, (PROMPT, (4,)): 0}, "the sum, and the end"),
    ),
)
