"""Blackjack. Sutton & Barto (2nd ed.), Example 5.1, with the rules of Gymnasium's Blackjack-v1.

An infinite deck: 1 (the ace) .. 9 with probability 1/13 each, 10 with 4/13. An ace counts 11 where that does not bust
(it is usable), else 1. The player holds two cards and sees one of the dealer's two. "hit" draws a card, and a sum above
21 loses (-1); "stick" ends the player's turn: the dealer hits below 17 and sticks from there on. A dealer's bust or the
higher sum wins (+1), the lower loses (-1), equal sums draw (0).

A natural is an ace and a 10 as the first two cards; who hits has a natural no more.
    sab=True                    the book's rule: a natural wins, +1, unless the dealer has one too (a draw)
    natural=True, sab=False     a natural that wins pays +1.5; against a dealer's 21, however drawn, it is a draw
    both False                  a natural is a 21 like others
The dealer's natural does not beat a 21 of more cards: a draw, under every rule. As in Gymnasium and not in the book,
sums below 12 and naturals are decisions too (to hit and to stick are surely right there).

Known answers (sab=True): the policy of Figure 5.2 sticks
    without a usable ace    from 17; from 13 if the dealer shows 2 or 3, from 12 if he shows 4, 5 or 6
    with one                from 18; from 19 if the dealer shows an ace, 9 or 10
J* = -.0431131054; -.0257291828 where a natural pays 1.5, -.0465559771 where it is a 21 like others. For the policy that
sticks on 20 and 21 alone, v(13, 2, "usable") = -.2772041918; the book's 100 million games gave -.27726 (Example 5.4).
"""

from __future__ import annotations

from collections import defaultdict
from itertools import product

from envs.answers import Answer, Cell, Entry
from mdp import FiniteMDP

Hand = tuple[int, str]  # the sum, and "hard", "usable" or "natural"
State = tuple[int, int, str]
Outcome = tuple[float, State | str, float]

NATURAL = (21, "natural")
DECK = dict.fromkeys(range(1, 10), 1 / 13) | {10: 4 / 13}
ENDS = {1: "win", 0: "draw", -1: "lose"}


def blackjack(natural: bool = False, sab: bool = True, gamma: float = 1.0) -> FiniteMDP:
    """States (player's sum, dealer's card, kind of hand), actions "stick" and "hit"; then "win", "draw" or "lose".

    The kinds: "hard" (sums 4 .. 21), "usable" for a usable ace (12 .. 21), and "natural", a hand of its own only under
    a rule that tells it from other 21s. The start is the deal; the defaults are those of Blackjack-v1. Raises
    ValueError for natural=True with sab=True, which would be the book's rule again.

    >>> from envs import blackjack
    >>> from mdp import solve
    >>> m = blackjack()  # a natural beats a ten unless the dealer has one: 12/13
    >>> float(solve(m).v[m.state_index((21, 10, "natural"))].round(10))
    0.9230769231
    """
    if natural and sab:
        raise ValueError("natural=True pays under sab=False alone, not with sab=True")
    hands = [*((n, "hard") for n in range(4, 22)), *((n, "usable") for n in range(12, 22))]
    if natural or sab:
        hands.append(NATURAL)
    outcomes = {}
    for dealer in DECK:
        last = _dealer(dealer)
        for hand in hands:
            s = (hand[0], dealer, hand[1])
            outcomes[s, "stick"] = [_showdown(hand, other, p, sab=sab) for other, p in last.items()]
            outcomes[s, "hit"] = [_hit(_with(hand, card), dealer, p) for card, p in DECK.items()]
    states = [*((n, dealer, kind) for n, kind in hands for dealer in DECK), *ENDS.values()]
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, states=states, start=_start(NATURAL in hands))


def _with(hand: Hand, card: int) -> Hand:
    """The hand with one more card."""
    total, kind = hand
    if card == 1 and kind == "hard" and total <= 10:
        return total + 11, "usable"
    if kind != "hard":
        return (total + card, "usable") if total + card <= 21 else (total + card - 10, "hard")
    return total + card, "hard"


def _dealt(first: int, second: int) -> Hand:
    return NATURAL if {first, second} == {1, 10} else _with(_with((0, "hard"), first), second)


def _start(naturals: bool) -> dict[State, float]:
    """The deal; without naturals an ace and a 10 are a usable 21."""
    start: dict[State, float] = defaultdict(float)
    for first, second, dealer in product(DECK, repeat=3):
        total, kind = _dealt(first, second)
        s = (total, dealer, kind if naturals or kind == "hard" else "usable")
        start[s] += DECK[first] * DECK[second] * DECK[dealer]
    return start


def _dealer(showing: int) -> dict[Hand, float]:
    """The probability of each last hand of the dealer; a sum above 21 is a bust."""
    last: dict[Hand, float] = defaultdict(float)
    playing: dict[Hand, float] = defaultdict(float, {_dealt(showing, hidden): p for hidden, p in DECK.items()})
    while playing:
        hand, reached = playing.popitem()
        if hand[0] >= 17:
            last[hand] += reached
        else:
            for card, p in DECK.items():
                playing[_with(hand, card)] += reached * p
    return last


def _hit(hand: Hand, dealer: int, p: float) -> Outcome:
    return (p, (hand[0], dealer, hand[1]), 0.0) if hand[0] <= 21 else (p, "lose", -1.0)


def _showdown(player: Hand, dealer: Hand, p: float, *, sab: bool) -> Outcome:
    score = dealer[0] if dealer[0] <= 21 else 0
    won = (player[0] > score) - (player[0] < score)
    if player != NATURAL:
        return p, ENDS[won], float(won)
    if sab:
        won = int(dealer != NATURAL)
    return p, ENDS[won], float(won) if sab else 1.5 * won


def _cell(s: State | str) -> Cell | None:
    """Sums downwards from 21, below the naturals; the dealer's cards to the right, the usable aces beside the rest."""
    if isinstance(s, str):
        return None
    total, dealer, kind = s
    return 0 if kind == "natural" else 22 - total, dealer - 1 + (0 if kind == "hard" else 11)


WHOLE_HANDS = "every hand, card by card, with the functions of Gymnasium: tests/envs/test_games.py"
ENTRY = Entry(
    blackjack,
    (
        Answer("optimal", 1.0, {(21, 10, "natural"): 12 / 13, (21, 1, "natural"): 9 / 13}, "unless the dealer has one"),
        Answer(
            "optimal",
            1.0,
            {
                (13, 2, "usable"): 0.046636132695,
                (18, 1, "usable"): -0.337747851679,
                (11, 6, "hard"): 0.333690047454,
                (12, 4, "hard"): -0.211063108995,
                (16, 10, "hard"): -0.569307159881,
                (20, 10, "hard"): 0.434957753663,
            },
            WHOLE_HANDS,
        ),
        Answer(
            "uniform",
            1.0,
            {
                (13, 2, "usable"): -0.252830192899,
                (12, 4, "hard"): -0.368330601345,
                (20, 10, "hard"): -0.246202360448,
                (21, 10, "natural"): 0.258187384648,
            },
            WHOLE_HANDS,
        ),
        Answer(
            "optimal",
            1.0,
            {(21, 10, "natural"): 1.332863492216, (21, 10, "usable"): 0.888575661477},
            f"the first is 3/2 of the second, the probability that the dealer has no 21; {WHOLE_HANDS}",
            {"natural": True, "sab": False},
        ),
        Answer("optimal", 1.0, {(21, 10, "usable"): 0.888575661477}, WHOLE_HANDS, {"sab": False}),
    ),
    cell=_cell,
)
