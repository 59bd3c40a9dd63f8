"""Tic-tac-toe against a fixed opponent. The game of Sutton & Barto (2nd ed.), section 1.5.

     0 | 1 | 2
    ---+---+---
     3 | 4 | 5        the actions: X, the agent, puts its mark on a free square, and moves first
    ---+---+---
     6 | 7 | 8

Three in a row win: +1 if they are X's, -1 if they are O's; a full board without them is a draw, 0. O's move belongs to
the environment: the next state is the board when X is to move again, or the last board. O plays "random", each free
square with the same probability, or "perfect", each of its minimax moves with the same probability. Minimax knows wins,
draws and losses alone: a win now is no better than a sure win later.

Known answers, of the empty board:
    against "random"     v* = 191/192: in a corner first, and all is won unless O then takes the centre (1/8) and saves
                         the draw (1/24); the uniform policy wins with probability 737/1260, loses with 121/420
    against "perfect"    v* = 0: all perfect games are draws; v of the uniform policy -2645/3402
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from envs.answers import Answer, Entry
from mdp import FiniteMDP

EMPTY = "." * 9
LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
Outcome = tuple[float, str, float]


def tictactoe(opponent: str = "random", gamma: float = 1.0) -> FiniteMDP:
    """States: the boards, row by row, as 9 letters "X", "O" and "." (free); actions: the free squares 0 .. 8.

    Boards that can be reached from the empty one, the start, with X to move or at the end. opponent: "random" or
    "perfect". Raises ValueError for another one.

    >>> from envs import tictactoe
    >>> from mdp import solve
    >>> m = tictactoe()
    >>> float(m.start @ solve(m).v.round(10)), 191 / 192
    (0.9947916667, 0.9947916666666666)
    """
    if opponent not in ("random", "perfect"):
        raise ValueError(f'opponent must be "random" or "perfect", not {opponent!r}')
    replies = _free if opponent == "random" else _best
    outcomes: dict[tuple[str, int], list[Outcome]] = {}
    boards = {EMPTY}
    while boards:
        played = {(board, k): _outcomes(board, k, replies) for board in sorted(boards) for k in _free(board)}
        outcomes |= played
        boards = {after for listed in played.values() for _, after, _ in listed if not _over(after)}
    return FiniteMDP.from_outcomes(outcomes, gamma=gamma, start={EMPTY: 1.0}, actions=range(9))


def _outcomes(board: str, square: int, replies: Callable[[str], list[int]]) -> list[Outcome]:
    board = _with(board, square, "X")
    if _over(board):
        return [(1.0, board, _reward(board))]
    after = [_with(board, k, "O") for k in replies(board)]
    return [(1 / len(after), x, _reward(x)) for x in after]


def _free(board: str) -> list[int]:
    return [k for k in range(9) if board[k] == "."]


def _with(board: str, square: int, mark: str) -> str:
    return board[:square] + mark + board[square + 1 :]


@cache
def _won(board: str, mark: str) -> bool:
    return any(board[i] == board[j] == board[k] == mark for i, j, k in LINES)


def _over(board: str) -> bool:
    return "." not in board or _won(board, "X") or _won(board, "O")


def _reward(board: str) -> float:
    """+1 where X has won, -1 where O has, else 0."""
    return float(_won(board, "X")) - float(_won(board, "O"))


def _best(board: str) -> list[int]:
    """O's minimax moves, all of them."""
    values = {k: _minimax(_with(board, k, "O"), "X") for k in _free(board)}
    return [k for k, value in values.items() if value == min(values.values())]


@cache
def _minimax(board: str, mark: str) -> float:
    """The reward of X when both play perfectly and `mark` is to move."""
    if _over(board):
        return _reward(board)
    if mark == "X":
        return max(_minimax(_with(board, k, "X"), "O") for k in _free(board))
    return min(_minimax(_with(board, k, "O"), "X") for k in _free(board))


FRACTIONS = "recursion in fractions, tests/envs/test_games.py"
PERFECT = {"opponent": "perfect"}
ENTRY = Entry(
    tictactoe,
    (
        Answer("optimal", 1.0, {EMPTY: 191 / 192, "X...O....": 23 / 24, "....X...O": 47 / 48}, FRACTIONS),
        Answer("uniform", 1.0, {EMPTY: 737 / 1260 - 121 / 420, "X...O....": 4 / 35, "....X...O": 3 / 7}, FRACTIONS),
        Answer("optimal", 1.0, {EMPTY: 0, "X...O....": 0, "XXO..O...": -1}, FRACTIONS, PERFECT),
        Answer("uniform", 1.0, {EMPTY: -2645 / 3402, "X...O....": -61 / 70}, FRACTIONS, PERFECT),
    ),
)
