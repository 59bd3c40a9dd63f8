"""`python -m agents.cli`, as torchrun -m starts it."""

from agents.cli import main

main()
