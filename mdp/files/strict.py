"""JSON as RFC 8259 has it, and no more: each name once, numbers that are finite, texts that are text.

Python's reader is more generous: of two equal names it takes the last, it knows NaN and Infinity, and it reads halves
of surrogate pairs, which no file can hold as UTF-8.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from json import JSONDecodeError
from typing import Any

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]')
DEEP = 100  # how deep is said to be too deep, where Python's stack was not enough
LONG = re.compile(r"(?<!\d)\d{4301}")  # digits that Python turns into no integer: it would take quadratic time
ROOM, TIMES = 1 << 20, 10  # bytes of any text; times its size
LIST, TEXT, WIDE, NEGATIVE = 72, 30, 44, 36  # bytes that Python takes for [, for ", for that of other letters, for -
HALVES = re.compile(r"\\u[dD][89a-fA-F]")


def parsed(data: bytes, constant: Callable[[str], Any] | None = None) -> Any:
    """What a JSON text says. constant: what to make of NaN and +-Infinity, by default refused.

    Raises JSONDecodeError, a ValueError with the place in the text; UnicodeDecodeError for other bytes than UTF-8. What
    would take more than ten times its size is refused before it is read.
    """
    text, size = data.decode(), len(data)
    del data  # its room is needed, if nobody else has it
    if size > ROOM and _room(text) > TIMES * size:
        raise JSONDecodeError(f"{size:,} bytes of little but brackets, quotes and signs would take far more", text, 0)

    def refuse(word: str) -> Any:
        raise JSONDecodeError(f"{word} is no number", text, text.find(word))

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = Counter(name for name, _ in pairs)
            twice = next(name for name, n in names.items() if n > 1)
            raise JSONDecodeError(f"{twice!r} stands twice", text, text.rfind(json.dumps(twice)))
        return found

    try:
        found = json.loads(text, object_pairs_hook=once, parse_constant=constant or refuse)
        if HALVES.search(text):
            _check_text(found, text)
    except JSONDecodeError:
        raise
    except RecursionError:
        raise JSONDecodeError("it is nested too deeply", text, _depth(text)) from None
    except ValueError:  # the only other one: an integer of too many digits
        place = LONG.search(text)
        raise JSONDecodeError("an integer has more than 4300 digits", text, place.start() if place else 0) from None
    return found


def _room(text: str) -> int:
    """Bytes that Python takes for what stands there, about; 9 is kept once for all, -9 is not."""
    lists, quotes = text.count("[") + text.count("{"), text.count('"')
    return sys.getsizeof(text) + LIST * lists + (TEXT if text.isascii() else WIDE) * quotes + NEGATIVE * text.count("-")


def _depth(text: str) -> int:
    """Where brackets are opened within one another for the hundredth time."""
    depth = 0
    for token in TOKEN.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth == DEEP:
            return token.start()
    return 0


def _check_text(found: Any, text: str) -> None:
    """Raises JSONDecodeError for half of a surrogate pair."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        place = re.search(rf"\\u{ord(half):04x}", text, re.IGNORECASE)
        raise JSONDecodeError(f"{half!r} is half of a character", text, place.start() if place else 0) from None
