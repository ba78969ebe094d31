"""`init` drawn: a plan, what was made of it, or what a check of a file found."""
