"""Easy21. The assignment of David Silver's course on reinforcement learning (University College London, 2015).

An infinite deck of cards 1 .. 10, each equally likely; a card is black with probability 2/3 and is added, or red with
1/3 and is subtracted. Player and dealer begin with one black card each, both seen. "hit" draws a card, and a sum above
21 or below 1 is a bust (-1); "stick" is the dealer's turn: he hits below 17 and sticks from there on. If he goes bust,
or has the lower sum, the player wins (+1); the higher sum loses (-1), equal sums draw (0). gamma = 1.

Red cards bring a sum back to where it was, so a game has no longest length. The dealer's last sum is that of a Markov
chain with rows Q among the sums 1 .. 16 and R to the last ones, bust or 17 .. 21: its distribution is (I - Q)^-1 R.

Known answers: J* = .0630760641, and J of the uniform policy is -.1013156090. The best player hits in a band of sums in
the middle (10 .. 12 against a 1, 7 .. 16 against a 10): low sums win where the dealer goes bust, and a red card may
bust them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.answers import Answer, Cell, Entry
from mdp import FiniteMDP

BUST = 0
ENDS = {1: "win", 0: "draw", -1: "lose"}
LAST = (BUST, 17, 18, 19, 20, 21)
State = tuple[int, int]
Outcome = tuple[float, State | str, float]


def easy21(gamma: float = 1.0) -> FiniteMDP:
    """States (dealer's first card, player's sum), actions "stick" and "hit"; then "win", "draw" or "lose".

    >>> from envs import easy21
    >>> from mdp import solve
    >>> float(solve(easy21()).v[0].round(10))  # dealer 1, player 1
    0.3167557396
    """
    draw = _draw()
    last = np.linalg.solve(np.eye(16) - draw[1:17, 1:17], draw[1:17][:, LAST])
    outcomes = {}
    for dealer in range(1, 11):
        for n in range(1, 22):
            outcomes[(dealer, n), "stick"] = [_showdown(n, z, p) for z, p in zip(LAST, last[dealer - 1], strict=True)]
            outcomes[(dealer, n), "hit"] = [_hit(dealer, after, p) for after, p in enumerate(draw[n])]
    start = {(dealer, n): 0.01 for dealer in range(1, 11) for n in range(1, 11)}
    states = [*((dealer, n) for dealer in range(1, 11) for n in range(1, 22)), "win", "draw", "lose"]
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, states=states, start=start)


def _draw() -> NDArray[np.float64]:
    """Pr(sum after one card | sum), (22, 22); the index 0 stands for a bust."""
    draw = np.zeros((22, 22))
    for n in range(1, 22):
        for card in range(1, 11):
            draw[n, n + card if n + card <= 21 else BUST] += 2 / 30
            draw[n, max(n - card, BUST)] += 1 / 30
    return draw


def _hit(dealer: int, after: int, p: float) -> Outcome:
    return (p, "lose", -1.0) if after == BUST else (p, (dealer, after), 0.0)


def _showdown(player: int, dealer: int, p: float) -> Outcome:
    won = (player > dealer) - (player < dealer)  # a bust counts 0, below every sum
    return p, ENDS[won], float(won)


def _cell(s: State | str) -> Cell | None:
    """Sums downwards from 21, the dealer's cards to the right."""
    return None if isinstance(s, str) else (21 - s[1], s[0] - 1)


ITERATED = "value iteration over the rules: tests/envs/test_games.py"
ENTRY = Entry(
    easy21,
    (
        Answer(
            "optimal",
            1.0,
            {
                (1, 1): 0.316755739595,
                (1, 11): 0.449955930712,
                (5, 9): 0.123332350047,
                (7, 14): 0.003407925789,
                (10, 10): -0.078977967632,
                (10, 16): -0.238627959398,
                (10, 21): 0.937561828088,
            },
            ITERATED,
        ),
        Answer(
            "uniform",
            1.0,
            {(1, 1): 0.037576364495, (5, 9): 0.003790243997, (10, 10): -0.310652520482, (10, 21): 0.091741555567},
            ITERATED,
        ),
    ),
    cell=_cell,
)
