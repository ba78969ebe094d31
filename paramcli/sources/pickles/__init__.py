"""Reading pickles without running them: the machine, what its calls mean, and the trees they hold."""
