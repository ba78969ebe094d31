"""`tie` drawn as text: one file a form, each taking a whole report."""
