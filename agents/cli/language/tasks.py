"""What a language model is trained on: prompts, and a reward of text. --task addition, digits, or a JSONL file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import envs
from agents.cli.language.lines import Line, Lines, Messages
from agents.cli.user import user_function, what
from envs.rewards import addition, digit_fraction

DIGITS = ("Phone number: ", "3+4=", "1, 2", "1999")  # four tokens each for SmolLM2


class Task(NamedTuple):
    """Prompts, and reward(prompt, completion, answer) of texts."""

    name: str
    lines: Sequence[Line]
    reward: Callable[[str, str, Any], float]


def load_task(name: str, reward: str | None) -> Task:
    """addition, digits, or the JSONL file `name` with the user's reward, module:function.

    Raises ValueError for another name, a reward where the task has its own or none where it has none.
    """
    if name in TASKS:
        if reward is not None:
            raise ValueError(f"the task {name} has its own reward: --reward goes with a JSONL file")
        return TASKS[name]()
    if not Path(name).is_file():
        raise ValueError(f"--task takes {', '.join(TASKS)} or a JSONL file, not {name!r}")
    if reward is None:
        raise ValueError('a JSONL file needs --reward module:function, a function of (prompt, completion, answer)')
    return Task(name, Lines(Path(name)), user_function("--reward", reward))


def _addition() -> Task:
    def chat(a: int, b: int) -> Messages:
        asked = {"role": "user", "content": f"What is {a}+{b}? Answer with the number only."}
        return [asked, {"role": "assistant", "content": f"{a} + {b} ="}]

    lines = [Line(chat(a, b), a + b, f"{a}+{b}") for a in range(1, 10) for b in range(1, 10)]
    return Task("addition", lines, lambda prompt, completion, _: addition(prompt, completion))


def _digits() -> Task:
    return Task(
        "digits", [Line(x, None, repr(x)) for x in DIGITS], lambda prompt, text, _: digit_fraction(prompt, text)
    )


TASKS: dict[str, Callable[[], Task]] = {"addition": _addition, "digits": _digits}


def problem(task: Task, tokenizer: Any, *, vocabulary: int, context: int | None, horizon: int) -> envs.TokenMDP:
    """The task as a TokenMDP in the tokens of a model, which ends at its end-of-text token or after `horizon` tokens.

    Raises ValueError for a prompt without tokens, with others than the model has, or longer than its context allows.
    """
    ids = [_ids(tokenizer, line) for line in task.lines]
    for line, prompt in zip(task.lines, ids, strict=True):
        if not prompt:
            raise ValueError(f"the prompt of {line.where} has no tokens")
        if max(prompt) >= vocabulary:
            raise ValueError(f"the prompt of {line.where} has token {max(prompt)}, the model {vocabulary} tokens: "
                             f"the tokenizer does not match")  # fmt: skip
        if context is not None and len(prompt) + horizon > context:
            raise ValueError(f"the prompt of {line.where} has {len(prompt)} tokens: with {horizon} to come that is "
                             f"more than the model's context of {context}")  # fmt: skip
    at = {prompt: k for k, prompt in enumerate(ids)}
    if len(at) < len(ids):
        raise ValueError(f"two prompts of {task.name} have the same tokens")

    def reward(prompt: tuple[int, ...], completion: tuple[int, ...]) -> float:
        try:
            asked, written = (tokenizer.decode(x, skip_special_tokens=True) for x in (prompt, completion))
        except Exception as error:  # of any kind
            raise ValueError(f"the tokenizer cannot say what {prompt} and {completion} are: {what(error)}") from error
        try:
            value = float(task.reward(asked, written, task.lines[at[prompt]].answer))
        except Exception as error:
            raise ValueError(f"{what(error)}; prompt {asked!r}, completion {written!r}") from error
        if not math.isfinite(value):
            raise ValueError(f"it is {value}, not finite; prompt {asked!r}, completion {written!r}")
        return value

    return envs.TokenMDP(vocabulary, horizon, reward, prompts=ids, eos=tokenizer.eos_token_id)


def _ids(tokenizer: Any, line: Line) -> tuple[int, ...]:
    try:
        return encoded(tokenizer, line.prompt)
    except Exception as error:  # of any kind: the tokenizer's, and what a chat template raises
        raise ValueError(f"the tokenizer cannot take the prompt of {line.where}: {what(error)}") from error


def encoded(tokenizer: Any, prompt: Messages) -> tuple[int, ...]:
    """Token ids; a chat by the tokenizer's template, up to where the answer begins, or in an answer that has begun."""
    if isinstance(prompt, str):
        return tuple(tokenizer(prompt).input_ids)
    if tokenizer.chat_template is None:
        raise ValueError("the tokenizer has no chat template: give the prompt as text")
    begun = prompt[-1]["role"] == "assistant"
    text = tokenizer.apply_chat_template(
        prompt, add_generation_prompt=not begun, continue_final_message=begun, tokenize=False
    )
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)
