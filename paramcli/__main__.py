"""The installed command, and `python -m paramcli`."""

import gc

# Metadata is trees of tuples without cycles: collecting doubles the time of a long list. Before all
# other imports, of which it is a twelfth.
gc.disable()

from paramcli.cli import run  # noqa: E402

__all__ = ["run"]

if __name__ == "__main__":
    run()
