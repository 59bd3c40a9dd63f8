"""States that are cells: moves up, right, down and left."""
