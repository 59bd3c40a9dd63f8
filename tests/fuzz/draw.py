"""Choices out of bytes, so that whoever changes bytes changes what is drawn: a fuzzer, or a random generator."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeVar

T = TypeVar("T")
SPECIAL: tuple[Any, ...] = (
    0, 1, -1, 0.5, -0.0, 1e-300, 5e-324, 1e300, 1e308, math.inf, -math.inf, math.nan, 10**400, -(10**400), 2**63, 2**64,
    -(2**63) - 1, 1 + 2**53, True, False, None, "", "1", "x", b"1", (), [], {}, 1j, Fraction(1, 3), 1 - 1e-9, 1 + 1e-8,
    "\ud800", "ü", (1, (2, None)), frozenset({1}), 10**20,
)  # fmt: skip


class Draw:
    """Bytes from front to back; zeros when they are used up."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        part = self.data[self.at : self.at + n]
        self.at += n
        return part.ljust(n, b"\0")

    def rest(self) -> bytes:
        return self.data[self.at :]

    def below(self, n: int) -> int:
        """0 .. n - 1, n <= 65,536."""
        return (self.take(1)[0] if n <= 256 else int.from_bytes(self.take(2), "little")) % n

    def of(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def rarely(self) -> bool:
        """One time in sixteen; never when the bytes are used up."""
        return self.take(1)[0] % 16 == 15

    def number(self) -> Any:
        """A number mostly, of any kind and size."""
        kind = self.below(4)
        if kind == 0:
            return self.below(256) / 16 - 8
        if kind == 1:
            return struct.unpack("<d", self.take(8))[0]
        return self.of(SPECIAL) if kind == 2 else self.below(5)

    def text(self, most: int = 12) -> str:
        return self.take(self.below(most)).decode("utf-8", "replace")

    def distribution(self, n: int) -> list[float]:
        """n numbers that sum to 1, but rarely."""
        weights = [1 + self.below(8) for _ in range(n)]
        p: list[Any] = [w / sum(weights) for w in weights]
        if self.rarely():
            p[self.below(n)] = self.number()
        return p


def mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Flipped, inserted, dropped, repeated, or joined with another seed: one to eight times."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        i, j = sorted(rng.randrange(len(found) + 1) for _ in range(2))
        j = min(j, i + 32)
        change = rng.randrange(6)
        if change == 0 and i < len(found):
            found[i] ^= 1 << rng.randrange(8)
        elif change == 1 and i < len(found):
            found[i] = rng.randrange(256)
        elif change == 2:
            found[i:i] = rng.randbytes(rng.randint(1, 8))
        elif change == 3:
            del found[i:j]
        elif change == 4:
            found[i:i] = found[i:j]
        else:
            k = rng.randrange(len(other) + 1)
            found[i:j] = other[k : k + 16]
    return bytes(found)
