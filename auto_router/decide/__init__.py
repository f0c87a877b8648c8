"""The decision: the one copy of the rule, and which models may be asked at all."""
