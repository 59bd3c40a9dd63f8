"""Rewards of text, ready to use: each a function of (prompt, completion) as strings; `on_text` makes it one of tokens.

    digit_fraction   digits / characters of the completion
    addition         1 for the exact sum that the prompt asks for ("12+7="), else 0
    brackets         1 where the brackets of prompt and completion close in order, else 0
    target(text)     how much of `text` the completion begins with, 0 to 1

`less_length(reward, cost)` takes `cost` off a reward of tokens for each token that is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from envs.token import Reward, Tokens

TextReward = Callable[[str, str], float]

PAIRS = {")": "(", "]": "[", "}": "{"}


def on_text(reward: TextReward, decode: Callable[[Tokens], str]) -> Reward:
    """A reward of tokens from one of text; decode: token ids -> text (`spelled`, or a tokenizer's decode)."""
    return lambda prompt, completion: reward(decode(prompt), decode(completion))


def spelled(vocabulary: Sequence[str], eos: int | None = None) -> Callable[[Tokens], str]:
    """Token ids -> their strings, one after the other, without the token that ends."""
    return lambda ids: "".join(vocabulary[x] for x in ids if x != eos)


def less_length(reward: Reward, cost: float) -> Reward:
    """reward - cost * (tokens of the completion)."""
    return lambda prompt, completion: reward(prompt, completion) - cost * len(completion)


def digit_fraction(prompt: str, completion: str) -> float:
    """Digits / characters of the completion; 0 for an empty one."""
    del prompt
    return sum(x.isdigit() for x in completion) / max(len(completion), 1)


def addition(prompt: str, completion: str) -> float:
    """1 where the completion is the sum of the two numbers of the prompt, and nothing else but spaces.

    Raises ValueError for a prompt that asks for no sum.
    """
    asked = re.search(r"(\d+)\s*\+\s*(\d+)", prompt)
    if asked is None:
        raise ValueError(f'the prompt {prompt!r} asks for no sum, like "12+7="')
    return float(completion.strip() == str(int(asked[1]) + int(asked[2])))


def brackets(prompt: str, completion: str) -> float:
    """1 where every bracket of prompt + completion is closed by its own kind, in order; else 0."""
    open_ones: list[str] = []
    for x in prompt + completion:
        if x in PAIRS.values():
            open_ones.append(x)
        elif x in PAIRS and (not open_ones or open_ones.pop() != PAIRS[x]):
            return 0.0
    return float(not open_ones)


def target(text: str) -> TextReward:
    """The share of `text` that the completion has right from its start, before the first mistake."""
    if not text:
        raise ValueError("the target must not be empty")

    def reward(prompt: str, completion: str) -> float:
        del prompt
        right = next((k for k, (x, y) in enumerate(zip(text, completion, strict=False)) if x != y), None)
        return (min(len(text), len(completion)) if right is None else right) / len(text)

    return reward
