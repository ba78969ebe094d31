"""Bytes brought to the disk by a thread while others are made, so that the last wait is short."""

from __future__ import annotations

import os
import threading

__all__ = ["Writeback"]

_STEP = 1 << 26
"""Bytes that are written before the disk is asked for them."""


class Writeback:
    """Asks for a descriptor's bytes again and again. It must be stopped before that is closed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._due = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None
        self._written = 0

    def wrote(self, size: int) -> None:
        """Count bytes that were handed to the system."""
        self._written += size
        if self._written >= _STEP and hasattr(os, "fdatasync"):
            self._written = 0
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
            self._due.set()

    def stop(self) -> None:
        """Wait for the disk. Raises the OSError that it met: the system tells of it only once."""
        self._stopping = True
        self._due.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        while self._error is None:
            self._due.wait()
            if self._stopping:
                break
            self._due.clear()
            try:
                os.fdatasync(self._descriptor)
            except OSError as error:
                self._error = error
