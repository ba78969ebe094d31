"""Bytes to numbers, in chunks that stay in cache: one set of questions, asked of NumPy or of torch.

NumPy is imported here and in the rooms below, so nothing that only lists may import them.
"""

from __future__ import annotations

import os

# Its threads would only fight with the forked workers, and must not be there when they fork.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
