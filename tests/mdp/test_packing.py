"""Tuples as columns, and columns as arrays of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdp import FiniteMDP
from mdp.model import packing
from mdp.model.packing import columns, numbers
from tests.fuzz import tables


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.tuples(*[st.integers() | st.text()] * n), min_size=1)))
def test_columns_are_those_of_zip(tuples: list[tuple[Any, ...]]) -> None:
    assert [*map(tuple, columns(tuples))] == [*zip(*tuples, strict=True)]


@pytest.mark.parametrize("outcome", [[0.5, 1, 2.0], {0.5: 0, 1: 0, 2.0: 0}, "abc"])
def test_columns_of_lists_dictionaries_and_text(outcome: Any) -> None:
    assert [*map(tuple, columns([outcome, outcome]))] == [*zip(outcome, outcome, strict=True)]


def test_columns_of_what_has_no_length() -> None:
    assert columns([iter((1, 2)), (3, 4)]) == [(1, 3), (2, 4)]


@pytest.mark.parametrize("tuples", [[(1.0, 2), (1.0,)], [(1.0,), (1.0, 2)], [(1,), (1, 2, 3), (1, 2)]])
def test_tuples_of_several_lengths_are_refused(tuples: list[Any]) -> None:
    with pytest.raises(ValueError, match="zip"):
        columns(tuples)


@pytest.mark.parametrize("wrong", [[1, 2], [None], [(1,), 2]])
def test_what_is_no_sequence_is_refused(wrong: list[Any]) -> None:
    with pytest.raises(TypeError):
        columns(wrong)


@pytest.mark.parametrize("door", [tables.outcomes, tables.function])
def test_tables_are_the_same_by_zip(door: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Random ones, right and wrong: the same tables, and the same words."""
    rng, ended, right = np.random.default_rng(0), list[Any](), 0

    def made(make: Callable[[], FiniteMDP]) -> None:
        nonlocal right
        try:
            m = make()
            ended.append([m.states, m.actions, *(column.tobytes() for column in m.table)])
            right += 1
        except (ValueError, TypeError) as error:
            ended.append([type(error), str(error)])

    monkeypatch.setattr(tables, "made", made)
    for size in rng.integers(20, 400, size=300):
        data = rng.bytes(int(size))
        for read in (columns, lambda tuples: list(zip(*tuples, strict=True))):
            monkeypatch.setattr(packing, "columns", read)
            door(data)
        assert repr(ended[: len(ended) // 2]) == repr(ended[len(ended) // 2 :]), data
        ended.clear()
    assert right > 50


def test_numbers() -> None:
    assert numbers([1, True, np.int8(3)]).tolist() == [1, 1, 3]
    assert numbers([1, 0.5, np.float32(2)]).tolist() == [1.0, 0.5, 2.0]
    assert numbers([2**70]).tolist() == [2.0**70]
    for wrong in (["1"], [None], [1j], [(1,)]):
        with pytest.raises(TypeError):
            numbers(wrong)
