"""What an assignment asserts of an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents import assert_close


@pytest.mark.parametrize(
    ("yours", "exact", "message"),
    [
        (None, 1.0, "x: your function returned nothing"),
        ("much", [1.0, 2.0], r"x should be numbers of shape \(2,\), not str"),
        ([1.0], [1.0, 2.0], r"x has shape \(1,\); it should be \(2,\)"),
        (1.5, 1.0, r"x is off by 0\.5: yours 1\.5, exact 1$"),
        ([0.0, 2.25], [0.0, 2.0], r"x is off by 0\.25 at 1: yours 2\.25, exact 2$"),
        (np.eye(2), np.ones((2, 2)), r"x is off by 1 at \(0, 1\): yours 0, exact 1$"),
        ([np.nan, 5.0], [0.0, 0.0], "x is off by nan at 0: yours nan, exact 0$"),
        ([1e3 + 3e-6], [1e3], "x is off by"),
    ],
)
def test_what_is_not_the_answer(yours: Any, exact: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_close("x", yours, exact)


@pytest.mark.parametrize(("yours", "exact"), [([], []), (1, 1.0), ([1e3 + 5e-7], [1e3]), ([1e-9], [0.0])])
def test_what_is(yours: Any, exact: Any) -> None:
    """Within 1e-9 (1 + |exact|)."""
    assert_close("x", yours, exact)
