"""Ours timed beside what a user would do instead, in turn, in one run."""
