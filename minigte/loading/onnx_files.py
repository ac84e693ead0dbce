"""The weights inside an ONNX export of a model, under the names its checkpoint gave them.

PyTorch's exporter keeps the names of biases, norms and embeddings, but folds each linear weight's
transposition and calls the result ``onnx::MatMul_1525`` or the like. The node that uses it still
carries its module's path: ``/encoder/layer.0/attention/self/query/MatMul``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minigte.arrays import Float32
from minigte.errors import CheckpointError, MissingDependencyError
from minigte.loading.stored_tensors import StoredTensor

if TYPE_CHECKING:
    import onnx

LARGEST = 2**31 - 1  # bytes: protobuf's limit for one message
QUANTIZED = re.compile(
    "Quantize|QLinear|Integer|NBits|Bnb4|^Q(Attention|Gemm|Embed)"
)  # operations of such graphs


def require_onnx() -> None:
    """Raise MissingDependencyError where the ``onnx`` package is not installed."""
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "reading an ONNX export needs the onnx package: pip install onnx"
        ) from error


def read_onnx(path: Path) -> Iterator[StoredTensor]:
    """The tensors of an ONNX file: each name, its shape, and what gives the array in float32.

    Linear weights are turned back to (outputs, inputs).
    """
    require_onnx()
    import onnx

    if path.stat().st_size > LARGEST:
        raise CheckpointError(f"{path} is not an ONNX file: it is larger than the 2 GB that one can have")
    try:
        # Weights kept in files beside the export could be any file of the machine: they are not followed.
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # the protobuf runtime's own error class, which moves between its releases
        raise CheckpointError(f"{path} is not an ONNX file ({error}): download it again") from error
    names = [node.name for node in graph.node] + [initializer.name for initializer in graph.initializer]
    if not all(isinstance(name, str) for name in names):  # protobuf hands out bytes where it is not UTF-8
        raise CheckpointError(f"{path} is not an ONNX file (a name is not UTF-8): download it again")
    _check_operations(path, graph)
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
        name, shape = initializer.name, tuple(initializer.dims)
        if name in modules:
            read = functools.partial(_array, path, initializer, transposed=True)
            yield StoredTensor(modules[name], shape[::-1], read)
        elif shape:  # a scalar is a constant of the arithmetic, not a weight
            yield StoredTensor(name, shape, functools.partial(_array, path, initializer, transposed=False))


def _check_operations(path: Path, graph: onnx.GraphProto) -> None:
    """Refuse a graph that was quantized or fused: its weights are no longer those of the checkpoint."""
    for node in graph.node:
        if QUANTIZED.search(node.op_type):
            raise CheckpointError(
                f"{path} is quantized (it has the operation {node.op_type}): use the model's float32 export, "
                f"or its "
                "safetensors, and let minigte compute in int8 (dtype='int8')"
            )
        if node.domain not in ("", "ai.onnx"):
            raise CheckpointError(
                f"{path} was optimized for one particular runtime (it has the fused operation {node.domain}."
                f"{node.op_type}): use the model's plain export, or its safetensors"
            )


def _array(path: Path, initializer: onnx.TensorProto, *, transposed: bool) -> Float32:
    import onnx.numpy_helper

    try:
        array = onnx.numpy_helper.to_array(initializer).astype(np.float32)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: tensor {initializer.name} is damaged ({error})") from error
    return np.ascontiguousarray(array.T) if transposed else array
