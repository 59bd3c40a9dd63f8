"""Pictures of a finite MDP: boards of cells, transition graphs, backup diagrams, and frames of an episode.

What is drawn is worked out as data first (`board`, `layout`, `arrows`, `Backup`), so that it can be tested; matplotlib
is imported when a picture is drawn.
"""

from mdp.drawing.backup import Backup, backup_of, plot_backup
from mdp.drawing.board import Board, Cell, CellOf, board_of
from mdp.drawing.frames import Frames, frames, side_of_letters
from mdp.drawing.graph import plot_graph
from mdp.drawing.grid import plot_board
from mdp.drawing.ground import marks

__all__ = [
    "Backup",
    "Board",
    "Cell",
    "CellOf",
    "Frames",
    "backup_of",
    "board_of",
    "frames",
    "marks",
    "plot_backup",
    "plot_board",
    "plot_graph",
    "side_of_letters",
]
