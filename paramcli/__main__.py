"""The installed command, and `python -m paramcli`."""

import gc

# Metadata is trees of tuples without cycles: collecting doubles the time of a long list. Before all
# other imports, of which it is a twelfth.
gc.disable()
# Freed at once, never touched: after so large a block glibc keeps what is freed for the next one,
# which would come page by page from the kernel (mallopt(3), M_MMAP_THRESHOLD).
bytes(1 << 24)

from paramcli.cli import run  # noqa: E402

__all__ = ["run"]

if __name__ == "__main__":
    run()
