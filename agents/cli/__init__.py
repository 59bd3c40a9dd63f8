"""The front door: `exactrl verify`, `exactrl solve` and `exactrl train`. It puts mdp, envs and agents together."""

from agents.cli.app import main

__all__ = ["main"]
