"""What is played: returns, episodes, simulation, all trajectories."""
