"""Reports drawn as text: one file a form, each taking a whole report and nothing of the command."""
