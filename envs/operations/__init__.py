"""Stocks, queues, machines: what operations research decides."""
