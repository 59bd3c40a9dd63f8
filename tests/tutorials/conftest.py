"""Notebooks import what is beside them, as they do when they are run."""

import sys

from tests.tutorials.notebooks import TUTORIALS

sys.path.insert(0, str(TUTORIALS))
