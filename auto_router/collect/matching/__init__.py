"""Verdicts without a model: what answer a response states, and whether it is the reference's. Start at ``verdict``."""
