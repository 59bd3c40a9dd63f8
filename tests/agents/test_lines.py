"""Prompts: of a JSONL file, with room for ten times the file at most, each once; of the tasks; as tokens of a model."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from agents.cli.language.lines import Line, Lines
from agents.cli.language.losses import LOSSES, loss_of
from agents.cli.language.tasks import DIGITS, Task, encoded, load_task, problem
from tests.agents.problems import only

CHAT = '{{"prompt":[{{"role":"","content":"{0}"}}]}}'


@pytest.mark.parametrize("form", ['{{"prompt":"{0}"}}', '{{"prompt": "{0}+1=", "answer": {0}}}', CHAT])
def test_ten_times_the_file_at_most(tmp_path: Path, form: str) -> None:
    """However short the lines are. Python's dictionaries and texts alone would take more."""
    path = tmp_path / "short.jsonl"
    path.write_text("\n".join(form.format(k) for k in range(100_000)))
    tracemalloc.start()
    try:
        lines = Lines(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(lines) == 100_000
    assert peak < 10 * path.stat().st_size


def test_lines_as_a_sequence(tmp_path: Path) -> None:
    path = tmp_path / "three.jsonl"
    path.write_bytes(b'{"prompt": "a", "answer": 1}\r\n {"prompt": "b"}\n{"prompt": "c"}\n')
    lines = Lines(path)
    assert lines[0] == ("a", 1, f"{path}, line 1")
    assert lines[-1] == ("c", None, f"{path}, line 3")
    assert [line.prompt for line in lines[1:]] == ["b", "c"]
    with pytest.raises(IndexError):
        lines[3]


def test_equal_hashes_are_no_equal_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.cli.language.lines.hash", lambda _: 0, raising=False)
    path = tmp_path / "hashes.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": [{"role": "a", "content": "b"}]}\n')
    assert len(Lines(path)) == 3
    path.write_text('{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": "b"}\n')
    with pytest.raises(ValueError, match="line 3 has the prompt of line 2"):
        Lines(path)


NO_PROMPT = '{0}, line 2 has no "prompt": a text, or a list of {{"role": ..., "content": ...}}'


@pytest.mark.parametrize(
    ("line", "says"),
    [
        *((f'{{"prompt": {x}}}', NO_PROMPT)
          for x in ('""', "3", "null", "{}", "[]", '["ab"]', '[["role", "content"]]')),
        *((f'{{"prompt": [{{"role": "user", "content": "x"}}, {x}]}}', NO_PROMPT)
          for x in ('{"role": "user"}', '{"content": "x"}', '{"role": 1, "content": "x"}',
                    '{"role": "", "content": 1}')),
        ('{"answer": "prompt"}', NO_PROMPT), ('["prompt"]', NO_PROMPT), ('"prompt"', NO_PROMPT),
        ("", "{0}, line 2 is empty"),
        ('{"prompt": ]}', "{0}, line 2 is not JSON: Expecting value, at character 12"),
        ('  {"prompt": "a"} x', "{0}, line 2 is not JSON: Extra data, at character 17"),
        ('{"prompt": "first"}', "{0}, line 2 has the prompt of line 1: each may stand once"),
    ],
)  # fmt: skip
def test_a_line_that_is_none(line: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"prompt": "first"}}\n{line}\n{{"prompt": "b"}}\n')
    with pytest.raises(ValueError, match=only(says.format(path))):
        Lines(path)


def test_files_without_lines_and_of_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} is empty: it needs a line for each prompt$"):
        Lines(path)
    path.write_bytes(b'{"prompt": "\xff"}')
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}, line 1 is not UTF-8: .*invalid start byte"):
        Lines(path)


# ---- tasks ----


def test_addition() -> None:
    """All 81 sums of two digits, as a chat in which the answer has begun."""
    task = load_task("addition", None)
    assert (task.name, len(task.lines)) == ("addition", 81)
    assert [line.where for line in task.lines] == [f"{a}+{b}" for a in range(1, 10) for b in range(1, 10)]
    for line in task.lines:
        a, b = map(int, line.where.split("+"))
        asked = {"role": "user", "content": f"What is {a}+{b}? Answer with the number only."}
        assert line == ([asked, {"role": "assistant", "content": f"{a} + {b} ="}], a + b, f"{a}+{b}")
        said = f"What is {a}+{b}? Answer with the number only.{a} + {b} ="
        assert task.reward(said, f" {a + b}", None) == 1
        assert task.reward(said, f" {a + b + 1}", None) == 0


def test_digits() -> None:
    task = load_task("digits", None)
    assert (task.name, list(task.lines)) == ("digits", [(x, None, repr(x)) for x in DIGITS])
    assert [task.reward("12", text, None) for text in ("", "a", "1a2b", "12")] == [0, 0, 0.5, 1]


def test_a_task_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "rewarding_lines.py").write_text("def f(prompt, completion, answer):\n    return answer\n")
    path = tmp_path / "x.jsonl"
    path.write_text('{"prompt": "a", "answer": 7}\n')
    task = load_task(str(path), "rewarding_lines:f")
    assert (task.name, list(task.lines)) == (str(path), [("a", 7, f"{path}, line 1")])
    assert task.reward("", "", 7) == 7


@pytest.mark.parametrize(
    ("name", "reward", "says"),
    [
        ("digits", "m:f", "the task digits has its own reward: --reward goes with a JSONL file"),
        ("poetry", "m:f", "--task takes addition, digits or a JSONL file, not 'poetry'"),
        (__file__, None, "a JSONL file needs --reward module:function, a function of (prompt, completion, answer)"),
    ],
)
def test_a_task_that_is_none(name: str, reward: str | None, says: str) -> None:
    with pytest.raises(ValueError, match=only(says)):
        load_task(name, reward)


@pytest.mark.parametrize(
    ("name", "beta", "says"),
    [
        ("magic", 0.0, f"--loss takes {', '.join(LOSSES)}, not 'magic'"),
        ("rloo", -0.1, "--beta must be finite and at least 0, not -0.1"),
        ("rloo", float("inf"), "--beta must be finite and at least 0, not inf"),
        ("rloo", float("nan"), "--beta must be finite and at least 0, not nan"),
    ],
)
def test_a_loss_that_is_none(name: str, beta: float, says: str) -> None:
    with pytest.raises(ValueError, match=only(says)):
        loss_of(name, 3, beta)
    assert loss_of("rloo", 3, 0.0) == LOSSES["rloo"](3)


# ---- in the tokens of a model ----


class Letters:
    """A tokenizer: a, b, ... are 0, 1, ...; what it was asked for."""

    chat_template: str | None = "template"
    eos_token_id = 3

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __call__(self, text: str, add_special_tokens: bool = True) -> Any:
        return SimpleNamespace(input_ids=[4] * (add_special_tokens and len(text) > 3) + [ord(x) - 97 for x in text])

    def apply_chat_template(self, chat: Any, **options: Any) -> str:
        self.asked.append(options)
        return "".join(x["content"] for x in chat)

    def decode(self, ids: tuple[int, ...], skip_special_tokens: bool = False) -> str:
        return "".join(chr(97 + x) for x in ids if x < 3 or not skip_special_tokens)


def of(*prompts: Any, reward: Any = lambda *_: 0.0) -> Task:
    return Task("mine", [Line(x, f"answer {k}", f"place {k}") for k, x in enumerate(prompts)], reward)


def chat(*said: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in said]


@pytest.mark.parametrize(
    ("said", "begun"),
    [
        ([("user", "ab"), ("assistant", "ca")], True), ([("assistant", "ab"), ("user", "ca")], False),
        ([("assistant", "abca")], True), ([("user", "a"), ("assistant", "b"), ("user", "ca")], False),
    ],
)  # fmt: skip
def test_a_chat_goes_through_the_template(said: list[tuple[str, str]], begun: bool) -> None:
    """As text, to which the tokenizer adds nothing; where the assistant has begun, its answer goes on."""
    tokenizer = Letters()
    assert encoded(tokenizer, chat(*said)) == (0, 1, 2, 0)
    assert tokenizer.asked == [
        {"add_generation_prompt": not begun, "continue_final_message": begun, "tokenize": False}
    ]  # fmt: skip
    assert encoded(tokenizer, "abca") == (4, 0, 1, 2, 0)  # a text is what the tokenizer makes of one


def test_a_chat_without_a_template() -> None:
    tokenizer = Letters()
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match=only("the tokenizer has no chat template: give the prompt as text")):
        encoded(tokenizer, chat(("user", "a")))


def test_the_problem_of_a_task() -> None:
    """A vocabulary and a context that are just large enough; the reward is given text, and the answer of the line."""
    reward = mock.Mock(side_effect=[1, 2])
    task = of("ab", "c", reward=reward)
    found = problem(task, Letters(), vocabulary=4, context=7, horizon=5)
    assert (found.horizon, found.prompts, found.eos) == (5, ((0, 1), (2,)), 3)
    assert found.vocabulary == (0, 1, 2, 3)
    assert found.reward((2,), (0, 1, 3)) == 1
    assert found.reward((0, 1), (2, 2)) == 2
    assert reward.mock_calls == [mock.call("c", "ab", "answer 1"), mock.call("ab", "cc", "answer 0")]
    assert problem(of("ab"), Letters(), vocabulary=4, context=None, horizon=10**6).horizon == 10**6


@pytest.mark.parametrize(
    ("prompts", "context", "says"),
    [
        (("ab", ""), 9, "the prompt of place 1 has no tokens"),
        (("ab", "d"), 9, "the prompt of place 1 has token 3, the model 3 tokens: the tokenizer does not match"),
        (("ab", "abc"), 7,
         "the prompt of place 1 has 3 tokens: with 5 to come that is more than the model's context of 7"),
        (("ab", "c", "ab"), 9, "two prompts of mine have the same tokens"),
        (("ab", 3), 9, "the tokenizer cannot take the prompt of place 1: TypeError: 'int' object is not subscriptable"),
    ],
)  # fmt: skip
def test_a_prompt_that_a_model_cannot_take(prompts: tuple[str, ...], context: int, says: str) -> None:
    tokenizer = Letters()
    tokenizer.eos_token_id = 2
    with pytest.raises(ValueError, match=rf"^{re.escape(says)}( \(.*\))?$"):
        problem(of(*prompts), tokenizer, vocabulary=3, context=context, horizon=5)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (float("inf"), "it is inf, not finite"),
        (float("nan"), "it is nan, not finite"),
        ("x", r"ValueError: could not convert string to float: 'x' \(tasks\.py, line \d+\)"),
    ],
)
def test_a_reward_that_is_no_number(value: Any, says: str) -> None:
    found = problem(of("ab", reward=lambda *_: value), Letters(), vocabulary=4, context=None, horizon=5)
    with pytest.raises(ValueError, match=f"^{says}; prompt 'ab', completion 'c'$"):
        found.reward((0, 1), (2,))


def test_tokens_that_the_tokenizer_cannot_say() -> None:
    found = problem(of("ab"), Letters(), vocabulary=4, context=None, horizon=5)
    with pytest.raises(ValueError, match=r"^the tokenizer cannot say what \(0, 1\) and \(-98,\) are: ValueError: chr"):
        found.reward((0, 1), (-98,))
