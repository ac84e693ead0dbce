"""Every form of weight file that is read, and every way one can be bad, each with its own message."""

import dataclasses
import json
import struct

import numpy as np
import pytest
import tiny
from safetensors.numpy import save_file

from minigte.errors import CheckpointError
from minigte.loading.config import read_config
from minigte.loading.safetensors_files import save_safetensors
from minigte.loading.weights import load_weights
from minigte.models import ARCHITECTURES
from minigte.models.weights import LayerWeights, Weights


def load(folder):
    return load_weights(folder, read_config(folder))


def arrays(weights):
    """All arrays of a model in one list."""
    own = [array for array in vars(weights).values() if isinstance(array, np.ndarray)]
    return own + [array for layer in weights.layers for array in vars(layer).values()]


@pytest.fixture
def folder(tmp_path):
    return tiny.write_model(tmp_path / "model")


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"prefix": "bert."},
        {"unused": True},
        {"prefix": "bert.", "unused": True},
        {"shards": 3},
        {"shards": 2, "prefix": "bert.", "unused": True},
    ],
    ids=str,
)
def test_every_form_of_a_checkpoint_gives_the_same_arrays(tmp_path, form):
    folder = tiny.write_model(tmp_path, **form)
    for array, expected in zip(arrays(load(folder)), arrays(tiny.weights()), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert not array.flags.writeable


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_half_precision_is_widened_exactly(tmp_path, dtype):
    def stored(array):
        if dtype == "F16":
            return array.astype(np.float16).astype(np.float32)
        return (array.view(np.uint32) >> 16 << 16).view(np.float32)

    folder = tiny.write_model(tmp_path, dtype=dtype)
    for array, expected in zip(arrays(load(folder)), arrays(tiny.weights()), strict=True):
        np.testing.assert_array_equal(array, stored(expected))


def test_old_layer_norm_names(tmp_path):
    folder = tiny.write_model(tmp_path)
    renamed = {
        name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): array
        for name, array in tiny.tensors().items()
    }
    tiny.write_safetensors(folder / "model.safetensors", renamed)
    for array, expected in zip(arrays(load(folder)), arrays(tiny.weights()), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("exact_in_half", [True, False])
def test_saved_weights_are_halved_only_without_loss(tmp_path, exact_in_half):
    saved = tiny.tensors()
    if exact_in_half:
        saved = {name: array.astype(np.float16).astype(np.float32) for name, array in saved.items()}
    folder = tiny.write_model(tmp_path)
    save_safetensors(saved, folder / "model.safetensors")
    size = sum(array.size for array in saved.values())
    assert (folder / "model.safetensors").stat().st_size // size == (2 if exact_in_half else 4)
    np.testing.assert_array_equal(load(folder).word_embeddings, saved["embeddings.word_embeddings.weight"])


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no weights \(model\.safetensors, .*\) in "):
        load(folder)


def test_truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors is not a complete safetensors file .*download it again"
    ):
        load(folder)


def test_empty_file(folder):
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is not a complete safetensors file"):
        load(folder)


def test_oversized_header(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(CheckpointError, match="is not a complete safetensors file"):
        load(folder)


def test_header_that_is_not_json(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 8) + b"not json")
    with pytest.raises(CheckpointError, match="is not a complete safetensors file"):
        load(folder)


def test_wrong_offsets(folder):
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(CheckpointError, match="is not a complete safetensors file"):
        load(folder)


def test_a_dtype_that_is_no_float(folder):
    tensors = tiny.tensors()
    tensors["encoder.layer.0.output.dense.bias"] = np.zeros(20, np.int64)
    tiny.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(
        CheckpointError, match=r"encoder\.layer\.0\.output\.dense\.bias is I64 \(known: F64, F32, F16, BF16\)"
    ):
        load(folder)


def test_missing_tensor(folder):
    tensors = tiny.tensors()
    del tensors["encoder.layer.1.attention.self.key.weight"]
    tiny.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(
        CheckpointError,
        match=r"no tensor encoder\.layer\.1\.attention\.self\.key\.weight \(expected shape \(20, 20\)\)",
    ):
        load(folder)


def test_extra_tensor(folder):
    tensors = tiny.tensors() | {"encoder.layer.1.output.adapter.bias": np.zeros(20, np.float32)}
    tiny.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(
        CheckpointError, match=r"1 tensors .* encoder\.layer\.1\.output\.adapter\.bias of shape \(20,\)"
    ):
        load(folder)


def test_mis_shaped_tensor(folder):
    tensors = tiny.tensors()
    tensors["encoder.layer.0.intermediate.dense.weight"] = np.zeros((20, 28), np.float32)
    tiny.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(
        CheckpointError,
        match=r"layer\.0\.intermediate\.dense\.weight has shape \(20, 28\), config\.json says \(28, 20\)",
    ):
        load(folder)


def test_the_same_tensor_twice(folder):
    tensors = tiny.tensors()
    tensors["bert.embeddings.LayerNorm.bias"] = tensors["embeddings.LayerNorm.bias"]
    tiny.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(CheckpointError, match=r"two tensors embeddings\.LayerNorm\.bias"):
        load(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(folder, value):
    tensors = tiny.tensors()
    tensors["encoder.layer.1.output.LayerNorm.weight"][3] = value
    tiny.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(
        CheckpointError, match=r"encoder\.layer\.1\.output\.LayerNorm\.weight holds NaN or infinity"
    ):
        load(folder)


def write_index(folder, weight_map):
    tiny.write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})


@pytest.mark.parametrize(
    "shard", ["../model.safetensors", "/model.safetensors", "weights/a.safetensors", "a.bin", ""]
)
def test_an_index_cannot_lead_out_of_the_folder(folder, shard):
    (folder / "model.safetensors").unlink()
    write_index(folder, {"embeddings.LayerNorm.bias": shard})
    with pytest.raises(CheckpointError, match=r"is not the name of a \.safetensors file of the same folder"):
        load(folder)


def test_an_index_without_its_shard(tmp_path):
    folder = tiny.write_model(tmp_path, shards=2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"model-00002-of-00002\.safetensors is missing, though the index lists it"
    ):
        load(folder)


def test_an_index_that_disagrees_with_its_shard(tmp_path):
    folder = tiny.write_model(tmp_path, shards=2)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["surplus"] = "model-00001-of-00002.safetensors"
    write_index(folder, index["weight_map"])
    with pytest.raises(CheckpointError, match="and the index disagree about the tensor surplus"):
        load(folder)


@pytest.mark.parametrize("content", ["[]", "{", '{"weight_map": 3}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_none(folder, content):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json"):
        load(folder)


class TestOnnx:
    """Exports as PyTorch writes them: linear weights anonymous and transposed, known by their node."""

    @pytest.fixture
    def onnx(self):
        return pytest.importorskip("onnx", reason="the onnx extra is not installed")

    def write(self, onnx, folder, tensors, **options):
        (folder / "model.safetensors").unlink(missing_ok=True)
        tiny.write_onnx(folder / "model.onnx", tensors, **options)

    def test_the_same_arrays_as_safetensors(self, onnx, folder):
        self.write(onnx, folder, tiny.tensors() | {"embeddings.position_ids": np.arange(32)[None]})
        for array, expected in zip(arrays(load(folder)), arrays(tiny.weights()), strict=True):
            np.testing.assert_array_equal(array, expected)
            assert array.flags.c_contiguous

    def test_missing_tensor(self, onnx, folder):
        tensors = tiny.tensors()
        del tensors["encoder.layer.0.output.dense.weight"]
        self.write(onnx, folder, tensors)
        with pytest.raises(CheckpointError, match=r"no tensor encoder\.layer\.0\.output\.dense\.weight"):
            load(folder)

    def test_not_onnx(self, onnx, folder):
        (folder / "model.safetensors").unlink()
        (folder / "model.onnx").write_bytes(b"\xff" * 100)
        with pytest.raises(CheckpointError, match=r"model\.onnx is not an ONNX file"):
            load(folder)

    @pytest.mark.parametrize("name", [b"embeddings.LayerNorm.bias", b"/encoder/layer.0/output/dense/MatMul"])
    def test_a_name_that_is_not_utf_8(self, onnx, folder, name):
        self.write(onnx, folder, tiny.tensors())
        path = folder / "model.onnx"
        path.write_bytes(path.read_bytes().replace(name, b"\xff" + name[1:]))
        with pytest.raises(CheckpointError, match="a name is not UTF-8"):
            load(folder)

    def test_weights_in_another_file_are_not_followed(self, onnx, folder):
        self.write(
            onnx, folder, tiny.tensors(), save_as_external_data=True, location="data", size_threshold=0
        )
        with pytest.raises(CheckpointError, match="in another file: export it as one file"):
            load(folder)


@pytest.mark.parametrize(
    "architecture", {a.name: a for a in ARCHITECTURES.values()}.values(), ids=lambda a: a.name
)
def test_the_tables_name_arrays_that_there_are(architecture):
    own, layer = ({field.name for field in dataclasses.fields(kind)} for kind in (Weights, LayerWeights))
    assert {row.field for row in architecture.parameters} <= own - {"layers"}
    assert {row.field for row in architecture.layer_parameters} <= layer


@pytest.mark.parametrize(
    "heads",
    [
        {"classifier.weight": (2, 20), "classifier.bias": (2,)},
        {"qa_outputs.weight": (2, 20), "qa_outputs.bias": (2,)},
        {"cls.predictions.bias": (84,), "bert.pooler.dense.weight": (20, 20)},
        {"linear.weight": (128, 20)},
    ],
)
def test_heads_of_other_tasks_are_passed_over(folder, heads):
    tensors = {f"bert.{name}": array for name, array in tiny.tensors().items()}
    tensors |= {name: np.ones(shape, np.float32) for name, shape in heads.items()}
    tiny.write_safetensors(folder / "model.safetensors", tensors)
    for array, expected in zip(arrays(load(folder)), arrays(tiny.weights()), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_fewer_layers_than_the_file_has(folder):
    tiny.write_json(folder / "config.json", {"model_type": "bert", **vars(tiny.config(num_hidden_layers=1))})
    loaded, whole = load(folder), tiny.weights()
    assert len(loaded.layers) == 1
    np.testing.assert_array_equal(loaded.layers[0].output_weight, whole.layers[0].output_weight)


def test_float64(folder):
    save_file(
        {name: array.astype(np.float64) for name, array in tiny.tensors().items()},
        folder / "model.safetensors",
    )
    for array, expected in zip(arrays(load(folder)), arrays(tiny.weights()), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_float64_that_float32_cannot_hold(folder):
    tensors = {name: array.astype(np.float64) for name, array in tiny.tensors().items()}
    tensors["embeddings.LayerNorm.bias"][3] = 1e300
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"embeddings\.LayerNorm\.bias holds NaN or infinity"):
        load(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json"])
def test_an_export_beside_a_state_dict_is_not_taken_for_the_model(folder, name):
    pytest.importorskip("onnx", reason="the onnx extra is not installed")
    (folder / "model.safetensors").unlink()
    (folder / "onnx").mkdir()
    tiny.write_onnx(folder / "onnx" / "model.onnx", tiny.tensors(seed=1))
    (folder / name).write_bytes(b"{}")
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        load(folder)


@pytest.mark.parametrize(
    ("operation", "domain", "message"),
    [
        ("DynamicQuantizeLinear", "", "is quantized .* float32 export"),
        ("MatMulInteger", "", "is quantized"),
        ("MatMulNBits", "com.microsoft", "is quantized"),
        ("SkipLayerNormalization", "com.microsoft", "fused operation com.microsoft.SkipLayer.* plain export"),
    ],
)
def test_a_quantized_or_fused_export(folder, operation, domain, message):
    onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")
    (folder / "model.safetensors").unlink()
    tiny.write_onnx(folder / "model.onnx", tiny.tensors())
    export = onnx.load(folder / "model.onnx")
    export.graph.node.append(onnx.helper.make_node(operation, ["x"], ["y"], domain=domain))
    onnx.save(export, folder / "model.onnx")
    with pytest.raises(CheckpointError, match=message):
        load(folder)


def test_names_under_another_prefix(folder):
    tensors = {f"0.auto_model.{name}": array for name, array in tiny.tensors().items()}
    tiny.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(CheckpointError, match=r"no tensor .* it has others, the first 0\.auto_model\."):
        load(folder)
