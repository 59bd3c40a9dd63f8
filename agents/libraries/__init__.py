"""Losses of other libraries, handed to `audit` unchanged. Each module needs its library (the `bench` extra)."""
