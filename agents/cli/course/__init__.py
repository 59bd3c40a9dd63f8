"""The commands of the course: `exactrl tutorials`, `exactrl grade`."""
