"""Bytes to numbers, in chunks that stay in cache: one set of questions, asked of NumPy or of torch.

NumPy is imported here and in the rooms below, so nothing that only lists may import them.
"""

from __future__ import annotations

import os
import sys

_LATE = "numpy" in sys.modules and "OPENBLAS_NUM_THREADS" not in os.environ

# Its threads would only fight with the forked workers, and must not be there when they fork.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ALONE = not _LATE and os.environ["OPENBLAS_NUM_THREADS"] == "1"
"""Whether the products of BLAS are those of one thread: not where others loaded NumPy before."""
