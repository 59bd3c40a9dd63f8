"""The gambler, blackjack, Easy21 and tic-tac-toe, each against its rules written once more in another way."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from itertools import combinations, combinations_with_replacement, product
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.toy_text import blackjack as toy_text
from scipy import stats

from envs import Entry
from envs.games import blackjack as blackjack_module
from envs.games import easy21 as easy21_module
from envs.games.blackjack import blackjack
from envs.games.easy21 import easy21
from envs.games.gambler import gambler
from envs.games.tictactoe import EMPTY, tictactoe
from mdp import FiniteMDP, evaluate, occupancy, return_variance, solve
from mdp.model.table import Floats
from tests.worlds import assert_close

ALARM = 1e-8  # for each comparison; there are six in this file


def labels(m: FiniteMDP) -> list[Any]:
    return list(m.states)


@cache
def values(m: FiniteMDP, of: str) -> dict[Any, float]:
    v = solve(m).v if of == "optimal" else evaluate(m, m.uniform_policy()).v
    return dict(zip(m.states, v.tolist(), strict=True))


# ---- the gambler ----


def test_gambler_by_hand() -> None:
    m = gambler(0.25, goal=10)
    assert m.states == tuple(range(11))
    assert np.flatnonzero(m.terminal).tolist() == [0, 10]
    assert m.outcomes(7, 3) == [(0.75, 4, 0.0), (0.25, 10, 1.0)]
    assert [int(n) for n in m.admissible.sum(axis=1)] == [0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("goal", [7, 30, 100])
@pytest.mark.parametrize(("p_heads", "bold"), [(0.3, True), (0.7, False)])
def test_bold_and_timid_stakes_are_optimal(p_heads: float, bold: bool, goal: int) -> None:
    m = gambler(p_heads, goal=goal)
    optimal = solve(m).optimal_actions
    for s in range(1, goal):
        assert optimal[s, m.action_index(min(s, goal - s) if bold else 1)]
    assert not optimal[2, m.action_index(1 if bold else 2)]  # with 2, it does matter


@pytest.mark.parametrize("of", ["uniform", "optimal"])
@pytest.mark.parametrize("p_heads", [0.0, 1.0])
def test_a_coin_with_two_equal_sides(p_heads: float, of: str) -> None:
    assert list(values(gambler(p_heads, goal=6), of).values()) == [0, *[p_heads] * 5, 0]


@pytest.mark.parametrize("p_heads", [-0.1, 1.4, float("nan")])
def test_p_heads_is_a_probability(p_heads: float) -> None:
    with pytest.raises(ValueError, match=rf"p_heads must lie in \[0, 1\], not {p_heads}"):
        gambler(p_heads)


def test_there_must_be_something_to_stake() -> None:
    assert gambler(goal=2).n_states == 3
    with pytest.raises(ValueError, match="goal must be at least 2, not 1"):
        gambler(goal=1)


# ---- blackjack: whole hands, card by card, with Gymnasium's own functions ----

Hand = tuple[int, ...]
Rules = dict[str, bool]
RULES: list[Rules] = [
    {"natural": False, "sab": True},
    {"natural": True, "sab": False},
    {"natural": False, "sab": False},
]
ENDS = {0: (6, 10, 10), 17: (7, 10), 18: (8, 10), 19: (9, 10), 20: (10, 10), 21: (7, 7, 7)}
cards: Any = toy_text  # its functions have no types


def kind(hand: Hand, rules: Rules) -> str:
    if cards.is_natural(hand) and any(rules.values()):
        return "natural"
    return "usable" if cards.usable_ace(hand) else "hard"


def with_card(hand: Hand, card: int) -> Hand:
    return tuple(sorted((*hand, card)))


@cache
def player_hands() -> dict[Hand, list[Hand | None]]:
    """Every hand, as sorted cards, and what each card of the deck makes of it (None: a bust); that stands before it."""
    hands: dict[Hand, list[Hand | None]] = {}

    def add(hand: Hand) -> None:
        if hand not in hands:
            after = [with_card(hand, card) for card in cards.deck]
            for x in after:
                if not cards.is_bust(x):
                    add(x)
            hands[hand] = [None if cards.is_bust(x) else x for x in after]

    for first, second in combinations_with_replacement(range(1, 11), 2):
        add((first, second))
    return hands


@cache
def dealer_ends(showing: int) -> dict[Hand, float]:
    """The probability of each end of the dealer; one hand stands for all that have its score."""
    ends: dict[Hand, float] = dict.fromkeys([(1, 10), *ENDS.values()], 0.0)

    def play(hand: Hand, p: float) -> None:
        if len(hand) > 1 and cards.sum_hand(hand) >= 17:
            ends[hand if cards.is_natural(hand) else ENDS[cards.score(hand)]] += p
        else:
            for card in range(1, 11):
                play(with_card(hand, card), p * cards.deck.count(card) / 13)

    play((showing,), 1.0)
    return ends


def whole_hands(rules: Rules) -> Iterator[tuple[Hand, Floats]]:
    """v* and v of the uniform policy, (2, 10), of every hand against each card; Gymnasium says what sticking pays."""
    env: Any = gymnasium.make("Blackjack-v1", **rules).unwrapped
    env.reset(seed=0)

    def paid(player: Hand, dealer: Hand) -> float:
        env.player, env.dealer = list(player), list(dealer)  # 17 or more: he draws no card
        return float(env.step(0)[1])

    ends = np.array([list(dealer_ends(showing).values()) for showing in range(1, 11)])
    v: dict[Hand | None, Floats] = {None: np.full((2, 10), -1.0)}
    for hand, after in player_hands().items():
        stick, hit = ends @ [paid(hand, end) for end in dealer_ends(1)], np.mean([v[x] for x in after], axis=0)
        v[hand] = np.array([np.maximum(stick, hit[0]), (stick + hit[1]) / 2])
        yield hand, v[hand]


@pytest.mark.parametrize("rules", RULES)
def test_blackjack_by_whole_hands(rules: Rules) -> None:
    """Sum, kind and the dealer's card are all that matters of a hand, and no other state is listed."""
    m = blackjack(**rules)
    v = np.array([solve(m).v, evaluate(m, m.uniform_policy()).v])
    seen = set()
    for hand, expected in whole_hands(rules):
        states = [m.state_index((cards.sum_hand(hand), showing, kind(hand, rules))) for showing in range(1, 11)]
        assert_close(v[:, states], expected, 1e-12)
        seen |= set(states)
    assert seen == set(np.flatnonzero(~m.terminal))


@pytest.mark.parametrize(
    ("rules", "optimal", "uniform"),
    [
        (RULES[0], -0.0431131054135, -0.3941745570220),
        (RULES[1], -0.0257291827893, -0.3854825957100),
        (RULES[2], -0.0465559770667, -0.3958959928486),
    ],
)
def test_the_deal(rules: Rules, optimal: float, uniform: float) -> None:
    """All 13^3 deals; the values were found by `whole_hands`, which the test above holds the states to."""
    m = blackjack(**rules)
    deals: Counter[Any] = Counter(
        (cards.sum_hand((first, second)), showing, kind((first, second), rules))
        for first, second, showing in product(cards.deck, repeat=3)
    )
    assert_close(m.start, [deals[s] / 13**3 for s in labels(m)], 1e-15)
    assert_close(solve(m).v @ m.start, optimal)
    assert_close(evaluate(m, m.uniform_policy()).objective, uniform)


@pytest.mark.parametrize("rules", RULES)
def test_gymnasium_plays_the_table(rules: Rules) -> None:
    """4,000 episodes of the uniform policy; seed 0 chooses, seed 1 deals. False alarm 1e-8 for each of two comparisons:
    the mean return in exact standard errors, and the chi-square of next states and rewards. What hitting does against
    the ten dealer cards is counted together, so is sticking below 17; cells that expect less than 5 are not judged.
    """
    m, n, rng = blackjack(**rules), 4_000, np.random.default_rng(0)
    env: Any = gymnasium.make("Blackjack-v1", **rules).unwrapped
    env.reset(seed=1)
    G, visits, seen = [], Counter[Any](), Counter[Any]()
    for _ in range(n):
        (total, showing, _), over = env.reset()[0], False
        while not over:
            s, a = (total, showing, kind(env.player, rules)), ("stick", "hit")[rng.integers(2)]
            (total, showing, _), reward, over, _, _ = env.step(m.action_index(a))
            visits[s, a] += 1
            seen[cell(s, a, None if over else (total, showing, kind(env.player, rules)), reward)] += 1
        G.append(reward)
    v = evaluate(m, m.uniform_policy()).v
    variance = m.start @ (return_variance(m, m.uniform_policy()) + v**2) - (m.start @ v) ** 2
    assert abs(np.mean(G) - m.start @ v) < stats.norm.isf(ALARM / 2) * np.sqrt(variance / n)

    expected: dict[Any, float] = defaultdict(float)
    for (s, a), visited in visits.items():
        for p, after, reward in m.outcomes(s, a):
            expected[cell(s, a, after, reward)] += visited * p
    assert set(seen) <= set(expected)
    judged = [x for x in expected if expected[x] >= 5]
    assert len(judged) > 150
    chi2 = sum((seen[x] - expected[x]) ** 2 / expected[x] for x in judged)
    assert chi2 < stats.chi2.isf(ALARM, len(judged))  # fewer degrees of freedom are left: conservative


def cell(s: Any, a: str, after: Any, reward: float) -> Any:
    total, showing, of = s
    if a == "stick":
        return a, max(total, 16), of == "natural", showing, reward
    return a, total, of, (after[0], after[2]) if isinstance(after, tuple) else "lose", reward


@pytest.mark.parametrize("rules", RULES)
def test_figure_5_2(rules: Rules) -> None:
    """The book's optimal policy; naturals change nothing in it. Below the figure, all sums hit."""
    m = blackjack(**rules)
    optimal = solve(m).optimal_actions
    sticks_from = {"hard": [17, 13, 13, 12, 12, 12, 17, 17, 17, 17], "usable": [19, *[18] * 7, 19, 19]}
    for s, best in zip(labels(m), optimal.tolist(), strict=True):
        if not isinstance(s, str):
            total, showing, of = s
            stick = of == "natural" or total >= sticks_from[of][showing - 1]
            assert best == [stick, not stick]


def test_example_5_4() -> None:
    """v(13, 2, usable ace) of the policy that sticks on 20 and 21 alone: -0.27726, the mean of 100 million games."""
    m = blackjack()
    pi = np.array([[s[0] >= 20, s[0] < 20] if not isinstance(s, str) else [0, 0] for s in labels(m)], np.float64)
    s = m.state_index((13, 2, "usable"))
    v = evaluate(m, pi).v[s]
    assert_close(v, -0.2772041918)
    assert abs(v + 0.27726) < 5 * np.sqrt(return_variance(m, pi)[s] / 1e8)


def test_blackjack_by_hand() -> None:
    m = blackjack()
    assert m.actions == ("stick", "hit")
    assert_close(m.p("lose", -1.0, (20, 5, "hard"), "hit"), 12 / 13)
    assert_close(m.p((12, 5, "hard"), 0.0, (12, 5, "usable"), "hit"), 4 / 13)
    assert_close(m.p((13, 5, "usable"), 0.0, (12, 5, "usable"), "hit"), 1 / 13)
    assert_close(m.p((21, 5, "hard"), 0.0, (21, 5, "natural"), "hit"), 4 / 13)
    assert_close(m.p("win", 1.0, (21, 10, "natural"), "stick"), 12 / 13)
    assert_close(m.p("draw", 0.0, (21, 10, "natural"), "stick"), 1 / 13)
    paid = blackjack(natural=True, sab=False)
    assert {(after, r) for _, after, r in paid.outcomes((21, 1, "natural"), "stick")} == {("win", 1.5), ("draw", 0.0)}


@pytest.mark.parametrize(("rules", "n"), list(zip(RULES, (290, 290, 280), strict=True)))
def test_every_state_of_blackjack_is_reached(rules: Rules, n: int) -> None:
    m = blackjack(**rules)
    assert m.n_states == n + 3
    assert m.states[-3:] == ("win", "draw", "lose")
    assert np.all(occupancy(m, m.uniform_policy())[~m.terminal] > 0)


def test_both_rules_at_once() -> None:
    with pytest.raises(ValueError, match="natural=True pays under sab=False alone, not with sab=True"):
        blackjack(natural=True)


@pytest.mark.parametrize(("entry", "shape"), [(blackjack_module.ENTRY, (19, 21)), (easy21_module.ENTRY, (21, 10))])
def test_every_state_has_a_cell_of_its_own(entry: Entry, shape: tuple[int, int]) -> None:
    m = entry.make()
    assert entry.cell is not None
    cells = [entry.cell(s) for s in m.states]
    assert cells[-3:] == [None] * 3
    assert len(set(cells[:-3])) == m.n_states - 3
    assert np.max([x for x in cells if x], axis=0).tolist() == [shape[0] - 1, shape[1] - 1]
    assert np.min([x for x in cells if x], axis=0).tolist() == [0, 0]


# ---- Easy21: value iteration over the rules ----

CARDS = [(2 / 30, value) for value in range(1, 11)] + [(1 / 30, -value) for value in range(1, 11)]


def easy21_dealer(first: int) -> dict[int, float]:
    """The dealer's last sum, 0 for a bust: his cards one by one, until less than 1e-17 is still playing."""
    last: dict[int, float] = defaultdict(float)
    playing = {first: 1.0}
    while sum(playing.values()) > 1e-17:
        after: dict[int, float] = defaultdict(float)
        for total, reached in playing.items():
            for p, card in CARDS:
                n = total + card if 1 <= total + card <= 21 else 0
                (after if 1 <= n <= 16 else last)[n] += reached * p
        playing = after
    return last


def easy21_values(choose: Callable[[float, float], float]) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], float] = {}
    for first in range(1, 11):
        last = easy21_dealer(first)
        stick = {n: sum(p * ((n > other) - (n < other)) for other, p in last.items()) for n in range(1, 22)}
        v, change = stick, 1.0
        while change > 1e-15:
            new = {n: choose(stick[n], sum(p * v.get(n + card, -1.0) for p, card in CARDS)) for n in stick}
            v, change = new, max(abs(new[n] - v[n]) for n in v)
        found |= {(first, n): value for n, value in v.items()}
    return found


@pytest.mark.parametrize(
    ("of", "choose", "J"),
    [("optimal", max, 0.0630760640671), ("uniform", lambda *q: sum(q) / 2, -0.1013156089669)],
)
def test_easy21_by_value_iteration(of: str, choose: Callable[[float, float], float], J: float) -> None:
    """J was found by policy iteration in fractions."""
    m = easy21()
    v, expected = values(m, of), easy21_values(choose)
    assert_close([v[s] for s in expected], list(expected.values()), 1e-12)
    assert set(v) == {*expected, "win", "draw", "lose"}
    assert_close(np.mean([v[first, n] for first in range(1, 11) for n in range(1, 11)]), J)
    assert_close(m.start @ list(v.values()), J)


def test_where_to_hit_in_easy21() -> None:
    m = easy21()
    hits = [(10, 12), (10, 12), (10, 12), (9, 13), (9, 13), (9, 13), (9, 14), (8, 15), (8, 16), (7, 16)]
    for (first, n), best in zip(labels(m)[:-3], solve(m).optimal_actions.tolist(), strict=False):
        lowest, highest = hits[first - 1]
        assert best == [not lowest <= n <= highest, lowest <= n <= highest]


def test_easy21_by_hand() -> None:
    m = easy21()
    assert m.actions == ("stick", "hit")
    assert_close(m.p("lose", -1.0, (4, 1), "hit"), 1 / 3)  # any red card
    assert_close(m.p("lose", -1.0, (4, 21), "hit"), 2 / 3)  # any black card
    assert_close(m.p("lose", -1.0, (4, 5), "hit"), 6 / 30)  # red 5 .. 10
    assert_close(m.p((4, 12), 0.0, (4, 15), "hit"), 1 / 30)
    assert_close(m.p((4, 18), 0.0, (4, 15), "hit"), 2 / 30)
    assert m.p("win", 1.0, (4, 1), "stick") == pytest.approx(m.p("win", 1.0, (4, 16), "stick"))  # a bust of the dealer
    assert m.p("draw", 0.0, (4, 16), "stick") == 0
    assert m.p("lose", -1.0, (4, 21), "stick") == 0


# ---- tic-tac-toe: in fractions, on the magic square, where three in a row are three numbers that sum to 15 ----

game = cache(tictactoe)
SQUARE = (2, 7, 6, 9, 5, 1, 4, 3, 8)
Marks = frozenset[int]


@cache
def three(marks: Marks) -> bool:
    return any(sum(numbers) == 15 for numbers in combinations(marks, 3))


@cache
def minimax(x: Marks, o: Marks) -> int:
    if three(x) or three(o) or len(x | o) == 9:
        return three(x) - three(o)
    free = frozenset(SQUARE) - x - o
    return max(minimax(x | {k}, o) for k in free) if len(x) == len(o) else min(minimax(x, o | {k}) for k in free)


def fractions(opponent: str, of: str) -> dict[str, Fraction]:
    """The value of every board with X to move."""
    v: dict[str, Fraction] = {}

    def value(x: Marks, o: Marks) -> Fraction:
        if three(x) or three(o) or len(x | o) == 9:
            return Fraction(three(x) - three(o))
        board = "".join("X" if k in x else "O" if k in o else "." for k in SQUARE)
        if board not in v:
            q = [moved(x | {k}, o) for k in frozenset(SQUARE) - x - o]
            v[board] = max(q) if of == "optimal" else sum(q, Fraction(0)) / len(q)
        return v[board]

    def moved(x: Marks, o: Marks) -> Fraction:
        if three(x) or len(x | o) == 9:
            return value(x, o)
        after = [o | {k} for k in frozenset(SQUARE) - x - o]
        if opponent == "perfect":
            least = min(minimax(x, y) for y in after)
            after = [y for y in after if minimax(x, y) == least]
        return sum((value(x, y) for y in after), Fraction(0)) / len(after)

    value(frozenset(), frozenset())
    return v


@pytest.mark.parametrize(
    ("opponent", "of", "empty"),
    [
        ("random", "optimal", Fraction(191, 192)),
        ("random", "uniform", Fraction(187, 630)),
        ("perfect", "optimal", Fraction(0)),
        ("perfect", "uniform", Fraction(-2645, 3402)),
    ],
)
def test_tictactoe_in_fractions(opponent: str, of: str, empty: Fraction) -> None:
    m = game(opponent)
    v, expected = values(m, of), fractions(opponent, of)
    assert expected[EMPTY] == empty
    assert {s for s, end in zip(m.states, m.terminal, strict=True) if not end} == set(expected)
    assert_close([v[s] for s in expected], [float(x) for x in expected.values()], 1e-12)


def test_the_boards() -> None:
    """Of the 5,478 boards of the game, O is to move on 2,097; 958 are the last: 626 X wins, 316 O wins, 16 draws."""
    m = game("random")
    ends = Counter(three_of(s, "X") - three_of(s, "O") for s, end in zip(m.states, m.terminal, strict=True) if end)
    assert ends == {1: 626, -1: 316, 0: 16}
    assert m.n_states == 5478 - 2097
    assert m.states[np.argmax(m.start)] == EMPTY
    assert m.start.max() == 1
    for s, admissible in zip(labels(m), m.admissible.tolist(), strict=True):
        assert not any(admissible) or [x == "." for x in s] == admissible
        assert s.count("X") - s.count("O") in ((0,) if any(admissible) else (0, 1))


def three_of(board: Any, mark: str) -> bool:
    return three(frozenset(k for k, x in zip(SQUARE, board, strict=True) if x == mark))


@pytest.mark.parametrize("opponent", ["random", "perfect"])
def test_the_board_may_be_turned_and_mirrored(opponent: str) -> None:
    m = game(opponent)
    v, uniform = values(m, "optimal"), values(m, "uniform")
    for s in m.states:
        board = np.array(list(str(s))).reshape(3, 3)
        for turned in ("".join(np.rot90(board).ravel()), "".join(board.T.ravel())):
            assert abs(v[s] - v[turned]) < 1e-12
            assert abs(uniform[s] - uniform[turned]) < 1e-12


def test_moves_by_hand() -> None:
    m, perfect = game("random"), game("perfect")
    assert m.outcomes("XX.OO....", 2) == [(1, "XXXOO....", 1)]
    assert m.outcomes("XXOOOX.XO", 6) == [(1, "XXOOOXXXO", 0)]
    assert {(after, r) for _, after, r in m.outcomes("XXOOO.X..", 7)} == {("XXOOOOXX.", -1), ("XXOOO.XXO", 0)}
    assert perfect.outcomes(EMPTY, 0) == [(1, "X...O....", 0)]  # the centre alone holds the draw
    assert perfect.outcomes("X...O....", 1) == [(1, "XXO.O....", 0)]
    later = {(0.5, "X.O..OXXO", -1), (0.5, "X..O.OXXO", 0)}  # a win now, or one of two next time
    assert set(perfect.outcomes(".....OXXO", 0)) == later


def test_unknown_opponents() -> None:
    with pytest.raises(ValueError, match='opponent must be "random" or "perfect", not \'minimax\''):
        tictactoe("minimax")
