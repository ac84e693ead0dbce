"""The weights inside an ONNX export of a BERT model, under the names its checkpoint gave them.

PyTorch's exporter keeps the names of biases, norms and embeddings, but folds each linear weight's
transposition and calls the result ``onnx::MatMul_1525`` or the like. The node that uses it still
carries its module's path: ``/encoder/layer.0/attention/self/query/MatMul``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from minigte.errors import CheckpointError, MissingDependencyError


def require_onnx() -> None:
    """Raise MissingDependencyError where the ``onnx`` package is not installed."""
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "reading an ONNX export needs the onnx package: pip install 'minigte[onnx]'"
        ) from error


def read_onnx(path: Path) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Read an ONNX file's tensors one by one, as float32, linear weights turned back to (outputs, inputs)."""
    require_onnx()
    import onnx
    import onnx.numpy_helper

    try:
        # Weights kept in files beside the export could be any file of the machine: they are not followed.
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # the protobuf runtime's own error class, which moves between its releases
        raise CheckpointError(f"{path} is not an ONNX file ({error}): get it again") from error
    names = [node.name for node in graph.node] + [initializer.name for initializer in graph.initializer]
    if not all(isinstance(name, str) for name in names):  # protobuf hands out bytes where it is not UTF-8
        raise CheckpointError(f"{path} is not an ONNX file (a name is not UTF-8): get it again")
    modules = {
        weight: node.name.removesuffix("/MatMul").strip("/").replace("/", ".") + ".weight"
        for node in graph.node
        if node.op_type == "MatMul"
        for weight in node.input
    }
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    for initializer in graph.initializer:
        if initializer.data_type not in floats:
            continue  # shapes, axes and position_ids
        if initializer.data_location == onnx.TensorProto.EXTERNAL:
            raise CheckpointError(f"{path} keeps {initializer.name} in another file: export it as one file")
        try:
            tensor = onnx.numpy_helper.to_array(initializer).astype(np.float32)
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{path}: tensor {initializer.name} is damaged ({error})") from error
        if initializer.name in modules:
            yield modules[initializer.name], np.ascontiguousarray(tensor.T)
        elif tensor.ndim:  # a scalar is a constant of the arithmetic, not a weight
            yield initializer.name, tensor
