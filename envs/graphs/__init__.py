"""States that are points of a graph: corridors, walks, chains, random graphs."""
