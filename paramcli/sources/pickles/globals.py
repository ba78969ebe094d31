"""What a global in a pickle would mean to whoever loads the file with pickle: harmless or not.

paramcli itself runs none of them. A dotted path does not say where the module ends and the name
begins, and `os` is an attribute of many a harmless module: so what is familiar is listed whole,
or is a class (a capital letter) right under a module of a known package.
"""

from __future__ import annotations

import re
from typing import Literal

from paramcli.sources.pickles.rebuild import UNDERSTOOD

__all__ = ["Danger", "danger"]

Danger = Literal["", "unfamiliar", "dangerous"]

_FAMILIAR = frozenset(
    [
        "argparse.Namespace", "builtins.Ellipsis", "builtins.NotImplemented", "builtins.bytes",
        "builtins.range", "builtins.slice", "collections.deque", "copyreg.__newobj__",
        "datetime.date", "datetime.datetime", "datetime.time", "datetime.timedelta",
        "datetime.timezone", "decimal.Decimal", "fractions.Fraction",
        "numpy._core.multiarray._reconstruct", "numpy._core.multiarray.scalar",
        "numpy._core.numeric._frombuffer", "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar", "numpy.core.numeric._frombuffer", "numpy.dtype",
        "numpy.ndarray", "numpy.random._pickle.__randomstate_ctor", "torch.Generator",
        "torch.ScriptModule", "torch.ScriptObject",
        "torch._C._nn.gelu", "torch.channels_last", "torch.channels_last_3d",
        "torch.contiguous_format", "torch.distributed.checkpoint.filesystem._StorageInfo",
        "torch.distributed.tensor.DTensor", "torch.memory_format", "torch.nn.functional.gelu",
        "torch.nn.functional.relu", "torch.preserve_format", "torch.random.Generator",
        "torch.sparse_bsc", "torch.sparse_bsr", "torch.sparse_coo", "torch.sparse_csc",
        "torch.sparse_csr", "torch.strided", "types.SimpleNamespace", "uuid.UUID",
    ]
)  # fmt: skip
_CLASSES = re.compile(
    r"(?:torch\.nn\.modules\.[a-z0-9_]+"
    r"|torch\.(?:ao\.)?nn\.(?:quantized|intrinsic|qat)(?:\.(?:quantized|qat|dynamic|modules))*\.[a-z]+"
    r"|torch\.nn\.utils\.rnn|torch\.optim\.[a-z_]+|torch\.ao\.quantization\.[a-z_]+|numpy\.dtypes"
    r"|torch\.distributed\.checkpoint\.metadata|torch\.distributed\.tensor\.[a-z_]+)"
    r"\.[A-Z][A-Za-z0-9_]*"
    r"|pathlib\.(?:_local\.)?(?:Pure)?(?:Posix|Windows)?Path"  # _local in Python 3.13
    r"|numpy\.(?:bool_?|u?int(?:8|16|32|64)|float(?:16|32|64)|complex(?:64|128))"
)
"""Layers, optimizers, types and scalars, none of which does more than hold what it is given.
Names below `__torch__` are those of TorchScript, which Python cannot import."""

_DANGEROUS = re.compile(
    r"(?:os|posix|nt|ntpath|posixpath|subprocess|_posixsubprocess|sys|shutil|socket|_socket|ssl|pty"
    r"|runpy|imp|importlib|_frozen_importlib|zipimport|pkgutil|pickle|_pickle|cPickle|cloudpickle|dill"
    r"|joblib|marshal|shelve|ctypes|_ctypes|cffi|code|codeop|commands|pdb|bdb|cProfile|profile|trace"
    r"|timeit|doctest|pydoc|webbrowser|antigravity|urllib|urllib2|http|httplib|requests|httpx|aiohttp"
    r"|ftplib|smtplib|imaplib|poplib|telnetlib|nntplib|xmlrpc|asyncio|multiprocessing|_thread"
    r"|threading|concurrent|signal|atexit|gc|inspect|types|operator|_operator|functools|itertools"
    r"|tempfile|glob|fileinput|io|_io|codecs|linecache|mmap|resource|platform|ensurepip|pip|venv"
    r"|setuptools|distutils|idlelib|lib2to3|test|unittest|pytest|logging|_osx_support|_aix_support"
    r"|_pyrepl|sqlite3|dbm|zipfile|tarfile|pandas|IPython|fabric|paramiko|boto3|builtins)\..*"
    r"|torch\.(?:hub|package|jit\.(?:load|unsupported_tensor_ops)|utils\.(?:cpp_extension|collect_env"
    r"|model_zoo|bottleneck|data\.datapipes)|_inductor|_dynamo|fx|ops|classes|multiprocessing"
    r"|distributed\.(?:elastic|run|launch|rpc)|testing|cuda\.\w*compile\w*)(?:\..*|$)"
    r"|torch\.(?:load|serialization\.load|storage\._load_from_bytes|save|from_file)"
    r"|numpy\.(?:load|save|fromfile|memmap|testing|f2py|distutils|lib\.npyio|ctypeslib).*"
)
"""Modules of commands, code, files, processes and the network, and what else is there: what is
listed as familiar is let through before."""

_WAYS = re.compile(
    r".*\.(?:os|sys|subprocess|multiprocessing|importlib|builtins|system|popen|eval|exec|__\w+__)"
    r"(?:\..*|$)"
)
"""The same as attributes of other modules."""


def danger(path: str) -> Danger:
    """Say what whoever loads a pickle with this global has to expect of it."""
    if path in UNDERSTOOD or path in _FAMILIAR:
        return ""
    if path.startswith("__torch__.") or (_CLASSES.fullmatch(path) and not _WAYS.fullmatch(path)):
        return ""
    if _DANGEROUS.fullmatch(path) or _WAYS.fullmatch(path):
        return "dangerous"
    return "unfamiliar"
