"""RiverSwim. Strehl & Littman (2008); here with the numbers of Osband, Russo & Van Roy (2013) and of their code.

        1  -  2  -  3  -  4  -  5  -  6        the current flows to the left

"left" swims with the current and always succeeds: one state to the left; in state 1 it stays and pays .005.
"right" swims against it: .35 one state on, .6 no way, .05 one state back; from state 1 .6 on and .4 no way; in state 6,
where it pays 1 whatever happens, .6 no way and .4 back. All else pays 0. Starts in state 1.

A small reward is near and a large one is far: who explores by coin flips rarely sees state 6. Osband et al. end an
episode after 20 steps, which is mdp.unroll(m, 20) at gamma = 1; gamma = .95 is Strehl & Littman's.

Known answer: "right" everywhere is optimal, v*(1) = 17835341097 / 3819703271 = 4.6693, where "left" for ever has .1.
"""

from __future__ import annotations

from envs.answers import Answer, Entry
from mdp import FiniteMDP


def riverswim(n: int = 6, gamma: float = 0.95) -> FiniteMDP:
    """States 1 .. n, actions "left", "right"; a continuing task. Raises ValueError for n < 2.

    >>> from envs import riverswim
    >>> from mdp import solve
    >>> m = riverswim()
    >>> [m.actions[a] for a in solve(m).policy.argmax(axis=1)]  # against the stream
    ['right', 'right', 'right', 'right', 'right', 'right']
    """
    if n < 2:
        raise ValueError(f"the river needs at least 2 states, not {n}")
    outcomes = {(1, "left"): [(1.0, 1, 0.005)], (1, "right"): [(0.4, 1, 0.0), (0.6, 2, 0.0)]}
    for s in range(2, n):
        outcomes[s, "left"] = [(1.0, s - 1, 0.0)]
        outcomes[s, "right"] = [(0.05, s - 1, 0.0), (0.6, s, 0.0), (0.35, s + 1, 0.0)]
    outcomes[n, "left"] = [(1.0, n - 1, 0.0)]
    outcomes[n, "right"] = [(0.4, n - 1, 1.0), (0.6, n, 1.0)]
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, start={1: 1.0})


ENTRY = Entry(
    riverswim,
    (
        Answer(
            "uniform",
            0.95,
            {
                1: 0.04666846184987017,
                2: 0.04608398147265441,
                3: 0.05819038439293327,
                4: 0.11201046064036632,
                5: 0.3071580459662343,
                6: 0.9849791616329312,
            },
            "the linear system, in fractions",
        ),
        Answer(
            "optimal",
            0.95,
            {
                1: 17835341097 / 3819703271,
                2: 5.078887894064376,
                3: 5.901142967866941,
                4: 6.905997898390154,
                5: 8.088044527320562,
                6: 9.473155628794915,
            },
            "the linear system of swimming right, in fractions",
        ),
    ),
)
