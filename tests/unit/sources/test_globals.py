"""Which globals of a pickle are familiar, unfamiliar or dangerous to whoever loads the file."""

from __future__ import annotations

import pytest

from paramcli.sources.pickles.globals import danger

DANGEROUS = """
    os.system posix.system nt.system subprocess.Popen subprocess.check_output builtins.eval builtins.exec
    builtins.compile builtins.open builtins.getattr builtins.__import__ builtins.type runpy.run_path
    importlib.import_module socket.create_connection pickle.loads _pickle.loads marshal.loads
    operator.attrgetter operator.methodcaller functools.partial types.FunctionType types.CodeType
    ctypes.CDLL shutil.rmtree webbrowser.open pty.spawn sys.modules torch.hub.load torch.load
    torch.serialization.load torch.jit.load torch.storage._load_from_bytes torch.ops.load_library
    torch.utils.cpp_extension.load torch.package.PackageImporter numpy.load
    numpy.testing._private.utils.runstring cProfile.run timeit.timeit pdb.run code.interact
    pathlib.os.system torch.nn.modules.os.Thing torch.nn.modules.subprocess.Popen
    torch.distributed.checkpoint.metadata.os.system collections.abc.sys.modules dill.loads joblib.load
    asyncio.run multiprocessing.Process urllib.request.urlopen requests.get io.open tempfile.mktemp
    some.module.__globals__ my.net.__init__.__globals__ torch.multiprocessing.spawn
""".split()
UNFAMILIAR = """
    my.Net lost.module.Net pytorch_lightning.callbacks.Checkpoint omegaconf.DictConfig
    torch.nn.modules.linear.forward torch.nn.modules.linear.init.kaiming torch.nn.Linear.forward
    torch.optim.adam.torch.Tensor torch.add numpy.add ultralytics.nn.tasks.DetectionModel x.y torchos
""".split()
FAMILIAR = """
    torch._utils._rebuild_tensor_v2 torch.FloatStorage torch.float32 collections.OrderedDict
    torch.nn.modules.linear.Linear torch.nn.modules.container.Sequential torch.optim.adam.Adam
    torch.ao.nn.quantized.modules.linear.Linear argparse.Namespace pathlib.PosixPath datetime.datetime
    numpy.core.multiarray._reconstruct numpy._core.multiarray.scalar numpy.dtype numpy.ndarray
    numpy.dtypes.Float64DType collections.deque __torch__.my.Net torch.distributed.tensor.DTensor
    types.SimpleNamespace builtins.set
""".split()


@pytest.mark.parametrize(
    ("kind", "paths"),
    [("dangerous", DANGEROUS), ("unfamiliar", UNFAMILIAR), ("", FAMILIAR)],
    ids=["dangerous", "unfamiliar", "familiar"],
)
def test_kinds(kind: str, paths: list[str]) -> None:
    assert {path: danger(path) for path in paths} == dict.fromkeys(paths, kind)
