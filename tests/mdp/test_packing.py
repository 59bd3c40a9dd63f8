"""Tuples, lists and dictionaries of plain numbers, read as bytes: what was put in, or nothing is read that way."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdp import FiniteMDP
from mdp.model import packing, toytext
from mdp.model.packing import DEPTH, WIDE, columns, numbers, plain, records
from tests.fuzz import tables

VALUES: dict[type, st.SearchStrategy[Any]] = {
    float: st.floats(),
    int: st.integers(-(2**31), 2**31 - 1),
    bool: st.booleans(),
}
DTYPES = {float: np.float64, int: np.int32, bool: np.bool_}
KINDS = st.lists(st.sampled_from([*VALUES]), min_size=1, max_size=5)


@given(KINDS.flatmap(lambda kinds: st.lists(st.tuples(*(VALUES[kind] for kind in kinds)), min_size=1)))
def test_tuples_of_plain_numbers_are_read_as_they_are(tuples: list[tuple[Any, ...]]) -> None:
    for read, given_, first in zip(columns(tuples), zip(*tuples, strict=True), tuples[0], strict=True):
        assert isinstance(read, np.ndarray)
        assert read.dtype == DTYPES[type(first)]
        np.testing.assert_array_equal(read, np.array(given_))
        if isinstance(first, float):  # the sign of a zero, too
            np.testing.assert_array_equal(np.signbit(read), np.signbit(given_))


@given(KINDS, st.integers(1, 6), st.data())
def test_one_tuple_of_another_form_is_enough(kinds: list[type], n: int, data: st.DataObject) -> None:
    """Wherever it stands: then nothing is read as bytes, and zip gives what stands there."""
    tuples = [tuple(data.draw(VALUES[kind]) for kind in kinds) for _ in range(n)]
    i, k = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, len(kinds) - 1))
    other = data.draw(st.sampled_from([2**31, -(2**40), "1", None, 1j, np.float64(1), np.int64(1), (1,), [1], {1: 1}]))
    tuples[i] = (*tuples[i][:k], other, *tuples[i][k + 1 :])
    assert list(map(repr, columns(tuples))) == list(map(repr, zip(*tuples, strict=True)))


@given(KINDS, st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.data())
def test_a_table_in_one_form_is_read_whole(kinds: list[type], n: int, A: int, b: int, data: st.DataObject) -> None:
    outcome = st.tuples(*(VALUES[kind] for kind in kinds))
    table = {s: {a: [data.draw(outcome) for _ in range(b)] for a in range(A)} for s in range(n)}
    rows = records(table)
    assert rows["0"].tolist() == [*range(n)]
    assert rows["1"]["0"].tolist() == [[*range(A)]] * n
    for k in range(len(kinds)):
        given_ = [[[o[k] for o in listed] for listed in of.values()] for of in table.values()]
        np.testing.assert_array_equal(plain(rows["1"]["1"]["0"][str(k)]), np.array(given_))


LOOP: list[Any] = []
LOOP.append(LOOP)
MARKS = np.frombuffer(b"(\x02\0\0\0g(\x02", np.float64)[0]  # a number whose bytes look like a tuple's
GOOD = (1.0, 2)


@pytest.mark.parametrize(
    "things",
    [
        [],
        {},
        [()],
        [[1.0], [1.0, 2.0], [3.0]],
        [GOOD, GOOD, [1.0, 2], GOOD],  # a list among tuples
        [(1.0, 2, 3), (1.0,), (1.0, 2, 3)],
        {0: {0: GOOD}, 1: {}, 2: {0: GOOD}},
        {0: {0: GOOD}, 1: {0: GOOD, 1: GOOD}, 2: {0: GOOD}},
        {0: {0: [GOOD]}, "1": {0: [GOOD]}, 2: {0: [GOOD]}},
        {0: [GOOD, GOOD, GOOD], 1: [GOOD], 2: [GOOD, GOOD, GOOD]},
        [(True, 1), (1, 1), (True, 1)],
        [(1.0, True), (1.0, 1), (1.0, True)],
        [((((((1.0,),),),),),)],
        [(LOOP,)],
        [tuple([1.0] * (WIDE + 1))],
        {0: [GOOD] * (WIDE + 1)},
        [type("Outcome", (tuple,), {})(GOOD)],
    ],
)
def test_what_is_not_in_one_form_is_refused(things: Any) -> None:
    with pytest.raises((KeyError, ValueError)):
        records(things)


def test_forms_as_deep_and_as_wide_as_they_may_be() -> None:
    wide: dict[Any, Any] = {0: {0: [tuple([0.5] * WIDE)] * 2}}
    assert records(wide)["1"]["1"]["0"][str(WIDE - 1)].tolist() == [[[0.5, 0.5]]]
    deep: Any = 1.0
    for _ in range(DEPTH - 1):
        deep = (deep,)
    assert records([deep]).shape == (1,)
    with pytest.raises(KeyError):
        records([(deep,)])


@pytest.mark.parametrize("outcome", [[0.5, 1, 2.0], {0.5: 0, 1: 0, 2.0: 0}, "abc"])
def test_columns_of_lists_dictionaries_and_text_are_those_of_zip(outcome: Any) -> None:
    assert columns([outcome, outcome]) == [*zip(outcome, outcome, strict=True)]


def test_numbers_that_look_like_marks() -> None:
    tuples = [(MARKS, ord("(")), (float(np.nextafter(MARKS, 1)), ord("g")), (nan, 0), (-inf, -1)]
    p, n = columns(tuples)
    np.testing.assert_array_equal(p, [x for x, _ in tuples])
    assert list(n) == [ord("("), ord("g"), 0, -1]


@pytest.mark.parametrize("door", [tables.outcomes, tables.gymnasium, tables.function])
def test_tables_are_the_same_without_bytes(door: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Random ones, right and wrong: the same tables, and the same words."""
    rng, ended, by_bytes = np.random.default_rng(0), list[Any](), 0

    def made(make: Callable[[], FiniteMDP]) -> None:
        try:
            m = make()
            ended.append([m.states, m.actions, *(column.tobytes() for column in m.table)])
        except (ValueError, TypeError) as error:
            ended.append([type(error), str(error)])

    def counted(things: Any) -> Any:
        nonlocal by_bytes
        found = records(things)
        by_bytes += 1
        return found

    def refused(_: Any) -> Any:
        raise ValueError

    monkeypatch.setattr(tables, "made", made)
    for size in rng.integers(20, 400, size=300):
        data = rng.bytes(int(size))
        for read in (counted, refused):
            for module in (packing, toytext):
                monkeypatch.setattr(module, "records", read)
            door(data)
        assert len(ended) == 0 or repr(ended[: len(ended) // 2]) == repr(ended[len(ended) // 2 :]), data
        ended.clear()
    assert by_bytes > 50


@pytest.mark.parametrize("tuples", [[(1.0, 2), (1.0,)], [(1.0,), (1.0, 2)]])
def test_tuples_of_several_lengths_are_refused(tuples: list[Any]) -> None:
    with pytest.raises(ValueError, match="zip"):
        columns(tuples)


def test_numbers() -> None:
    assert numbers([1, True, np.int8(3)]).tolist() == [1, 1, 3]
    assert numbers([1, 0.5, np.float32(2)]).tolist() == [1.0, 0.5, 2.0]
    assert numbers([2**70]).tolist() == [2.0**70]
    for wrong in (["1"], [None], [1j], [(1,)]):
        with pytest.raises(TypeError):
            numbers(wrong)
