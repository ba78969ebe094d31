"""Pickles read without running them: the machine, what calls mean, and the trees they hold."""
