"""`python -m paramcli`."""

from paramcli.cli import run

run()
