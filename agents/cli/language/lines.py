"""Prompts out of a JSONL file.

{"prompt": text or [{"role": ..., "content": ...}, ...], "answer": anything} on each line.
A chat whose last message is the assistant's is an answer that has begun.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast, overload

from mdp.files.strict import parsed

Messages = str | list[dict[str, str]]


class Line(NamedTuple):
    """A prompt, text or messages of a chat; what is right, if anything; where it stands."""

    prompt: Messages
    answer: Any
    where: str


class Lines(Sequence[Line]):
    """The lines of a file, checked. Each is parsed anew when it is asked for: parsed, all would take 17 times the file.

    Raises ValueError with the number of the line that is none.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.texts = path, path.read_bytes().split(b"\n")
        if not self.texts[-1]:
            self.texts.pop()
        if not self.texts:
            raise ValueError(f"{path} is empty: it needs a line for each prompt")
        seen = set[int]()
        for k, line in enumerate(self):
            key = hash(json.dumps(line.prompt))
            first = self._first(line.prompt) if key in seen else k
            if first < k:
                raise ValueError(f"{line.where} has the prompt of line {first + 1}: each may stand once")
            seen.add(key)

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, k: int) -> Line: ...
    @overload
    def __getitem__(self, k: slice) -> list[Line]: ...
    def __getitem__(self, k: int | slice) -> Line | list[Line]:
        if isinstance(k, slice):
            return [self[i] for i in range(len(self))[k]]
        text, where = self.texts[k].strip(), f"{self.path}, line {range(len(self))[k] + 1}"
        if not text:
            raise ValueError(f"{where} is empty")
        try:
            line = parsed(text)
        except UnicodeDecodeError as error:
            raise ValueError(f"{where} is not UTF-8: {error}") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"{where} is not JSON: {error.msg}, at character {error.pos + 1}") from None
        prompt = line.get("prompt") if isinstance(line, dict) else None
        if not (isinstance(prompt, str) and prompt) and not _is_chat(prompt):
            raise ValueError(f'{where} has no "prompt": a text, or a list of {{"role": ..., "content": ...}}')
        return Line(cast(Messages, prompt), line.get("answer"), where)

    def _first(self, prompt: Messages) -> int:
        return next(k for k, line in enumerate(self) if line.prompt == prompt)


def _is_chat(x: Any) -> bool:
    return (
        isinstance(x, list) and bool(x)
        and all(isinstance(y, dict) and all(isinstance(y.get(k), str) for k in ("role", "content")) for y in x)
    )  # fmt: skip
