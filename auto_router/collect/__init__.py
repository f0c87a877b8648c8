"""Stage 1: ask every candidate model, judge the answers, write evaluation records."""
