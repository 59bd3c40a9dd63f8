"""Pictures: boards of cells, transition graphs, backup diagrams, frames of an episode; curves, bars and estimates.

The style and what each colour means are in `mdp.plot.style`. A figure is written by its `savefig`.

What is drawn is worked out as data first (`board`, `layout`, `arrows`, `Backup`), so that it can be tested; matplotlib
is imported when a picture is drawn.
"""

from mdp.plot.boards.board import Board, Cell, CellOf, board_of
from mdp.plot.boards.grid import plot_board
from mdp.plot.boards.ground import marks
from mdp.plot.charts import draw_bars, draw_curves, draw_estimates
from mdp.plot.frames import Frames, frames, side_of_letters
from mdp.plot.graphs.backup import Backup, backup_of, plot_backup
from mdp.plot.graphs.graph import plot_graph
from mdp.plot.style import COLORS, SERIES, color_of, panels, save_figure, styled

__all__ = [
    "COLORS",
    "SERIES",
    "Backup",
    "Board",
    "Cell",
    "CellOf",
    "Frames",
    "backup_of",
    "board_of",
    "color_of",
    "draw_bars",
    "draw_curves",
    "draw_estimates",
    "frames",
    "marks",
    "panels",
    "plot_backup",
    "plot_board",
    "plot_graph",
    "save_figure",
    "side_of_letters",
    "styled",
]
