"""State dicts: every form that is read gives the arrays that went in; nothing else runs, and is said."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import state_dicts
import tiny
from state_dicts import Call, Name

from minigte.errors import CheckpointError
from minigte.loading import pickled
from minigte.loading.config import read_config
from minigte.loading.state_dict_files import read_state_dict
from minigte.loading.weights import load_weights

ARRAYS = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4) / 8 - 1,
    "b": np.arange(5, dtype=np.float32) / 4,
    "c": np.array(2.5, np.float32),
    "d": np.empty((0, 3), np.float32),
}


def read(path):
    return {stored.name: np.array(stored.read()) for stored in read_state_dict(path, None)}


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("write", [state_dicts.write, state_dicts.write_old_form])
def test_every_dtype_in_both_forms(tmp_path, dtype, write):
    path = tmp_path / "pytorch_model.bin"
    write(path, state_dicts.contiguous(ARRAYS, dtype))
    found = read(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():  # each holds these values exactly
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(tmp_path, protocol):
    path = tmp_path / "pytorch_model.bin"
    state_dicts.write(path, state_dicts.contiguous(ARRAYS), protocol=protocol)
    np.testing.assert_array_equal(read(path)["a"], ARRAYS["a"])


@pytest.mark.parametrize("write", [state_dicts.write, state_dicts.write_old_form])
def test_tensors_that_share_a_storage(tmp_path, write):
    storage = state_dicts.stored(np.arange(24, dtype=np.float32), "0", "F32")
    path = tmp_path / "pytorch_model.bin"
    views = {
        "whole": state_dicts.tensor(storage, (4, 6)),
        "again": state_dicts.tensor(storage, (4, 6)),
        "rows": state_dicts.tensor(storage, (2, 6), offset=6),
        "transposed": state_dicts.tensor(storage, (6, 4), strides=(1, 6)),
        "column": state_dicts.tensor(storage, (4,), offset=3, strides=(6,)),
        "expanded": state_dicts.tensor(storage, (3, 6), offset=18, strides=(0, 1)),
    }
    write(path, views)
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    expected = {
        "whole": whole,
        "again": whole,
        "rows": whole[1:3],
        "transposed": whole.T,
        "column": whole[:, 3],
        "expanded": np.stack([whole[3]] * 3),
    }
    found = read(path)
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_parameters_dicts_and_what_is_no_tensor(tmp_path):
    a = state_dicts.contiguous(ARRAYS)["a"]
    path = tmp_path / "pytorch_model.bin"
    hooks = Call(Name("collections", "OrderedDict"), ())
    value = Call(
        Name("collections", "OrderedDict"),
        ([["a", Call(Name("torch._utils", "_rebuild_parameter"), (a, True, hooks))], ["epoch", 3]],),
        {"_metadata": Call(Name("collections", "OrderedDict"), ([["", {"version": 1}]],))},
    )
    state_dicts.write(path, {"a": a}, change=lambda _: state_dicts.dumps(value))
    found = read(path)
    assert list(found) == ["a"]
    np.testing.assert_array_equal(found["a"], ARRAYS["a"])


@pytest.mark.parametrize("form", ["zip", "old", "shards"])
def test_a_model_of_state_dicts_alone(tmp_path, form):
    folder = tiny.write_model(tmp_path)
    (folder / "model.safetensors").unlink()
    arrays = {**tiny.tensors(), "embeddings.position_ids": np.arange(32)[None]}
    if form == "shards":
        names = [f"pytorch_model-{i + 1:05}-of-00002.bin" for i in range(2)]
        weight_map = {name: names[i % 2] for i, name in enumerate(arrays)}
        for shard in names:
            part = {name: array for name, array in arrays.items() if weight_map[name] == shard}
            state_dicts.write(folder / shard, state_dicts.contiguous(part))
        tiny.write_json(folder / "pytorch_model.bin.index.json", {"metadata": {}, "weight_map": weight_map})
    else:
        write = state_dicts.write if form == "zip" else state_dicts.write_old_form
        write(folder / "pytorch_model.bin", state_dicts.contiguous(arrays))
    weights, expected = load_weights(folder, read_config(folder)), tiny.weights()
    np.testing.assert_array_equal(weights.word_embeddings, expected.word_embeddings)
    for layer, other in zip(weights.layers, expected.layers, strict=True):
        for name, array in vars(other).items():
            np.testing.assert_array_equal(getattr(layer, name), array)
            assert getattr(layer, name).flags.c_contiguous


def test_safetensors_come_first(tmp_path):
    folder = tiny.write_model(tmp_path)
    (folder / "pytorch_model.bin").write_bytes(b"not looked at")
    load_weights(folder, read_config(folder))


class Hostile:
    """What a pickle can do to whoever opens it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


HOSTILE = {
    "print": (Hostile(print, "ran"), "builtins.print"),
    "getattr": (Hostile(getattr, "text", "upper"), "builtins.getattr"),
    "a class": (io.BytesIO, "_io.BytesIO"),
    "inside": ({"a": [({"b": Hostile(exec, "0")},)]}, "builtins.exec"),
}


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("old_form", [False, True])
@pytest.mark.parametrize("value", HOSTILE)
def test_what_no_state_dict_needs_is_refused_by_name(tmp_path, capsys, value, protocol, old_form):
    content, name = HOSTILE[value]
    path = tmp_path / "pytorch_model.bin"
    poison = pickle.dumps(content, protocol)
    if old_form:
        path.write_bytes(poison)
    else:
        state_dicts.write(path, state_dicts.contiguous(ARRAYS), change=lambda _: poison)
    names = {name, name.replace("builtins", "__builtin__")}
    with pytest.raises(CheckpointError) as raised:
        read(path)
    message = str(raised.value)
    assert str(path) in message
    assert "safetensors" in message
    assert any(f"asks for {name}" in message for name in names) or protocol < 2
    assert capsys.readouterr().out == ""


def stands_in(*arguments):
    return state_dicts.dumps({"a": Call(Name("torch._utils", "_rebuild_tensor_v2"), arguments)}, protocol=2)


STORAGE = state_dicts.contiguous(ARRAYS)["a"].arguments[0]  # of 12 elements
CONTENTS = {
    "empty": b"",
    "no end": state_dicts.dumps({})[:-1],
    "not a dict": state_dicts.dumps(["a"]),
    "no tensors": state_dicts.dumps({"state_dict": {"a": 1}}),
    "a key that is no text": state_dicts.dumps({1: 2}),
    "an empty stack": b"\x80\x02R.",
    "no mark": b"\x80\x02u.",
    "nothing in the memo": b"\x80\x02h\x05.",
    "a call of a dtype": state_dicts.dumps({"a": Call(Name("torch", "FloatStorage"), ())}),
    "a call of a text": b"\x80\x02X\x01\x00\x00\x00a)R.",
    "no arguments": stands_in(),
    "no storage": stands_in("a", 0, (1,), (1,)),
    "a size that is no number": stands_in(STORAGE, 0, ("3",), (1,)),
    "a negative size": stands_in(STORAGE, 0, (-3,), (1,)),
    "a negative stride": stands_in(STORAGE, 4, (2,), (-1,)),
    "a giant number": stands_in(STORAGE, 0, (10**5000,), (1,)),
    "more sizes than strides": stands_in(STORAGE, 0, (3, 4), (1,)),
    "beyond its storage": stands_in(STORAGE, 1, (3, 4), (4, 1)),
    "strides beyond its storage": stands_in(STORAGE, 0, (3, 4), (2**40, 1)),
    "a storage that is not there": stands_in(STORAGE._replace(key="7"), 0, (3, 4), (4, 1)),
    "a storage that is larger than its part": stands_in(STORAGE._replace(size=13), 1, (3, 4), (4, 1)),
    "a storage of a giant size": stands_in(STORAGE._replace(size=2**62), 0, (3, 4), (2**40, 1)),
    "text": b"version https://example.org",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_no_state_dict(tmp_path, name):
    path = tmp_path / "pytorch_model.bin"
    state_dicts.write(path, state_dicts.contiguous(ARRAYS), change=lambda _: CONTENTS[name])
    with pytest.raises(CheckpointError, match=r"download it again|safetensors") as raised:
        read(path)
    assert str(path) in str(raised.value)
    path.write_bytes(CONTENTS[name])
    with pytest.raises(CheckpointError, match=r"download it again|safetensors"):
        read(path)


def test_the_other_byte_order_and_compression_are_refused(tmp_path):
    path, tensors = tmp_path / "pytorch_model.bin", state_dicts.contiguous(ARRAYS)
    state_dicts.write(path, tensors, byteorder=b"big")
    with pytest.raises(CheckpointError, match=r"little-endian.*safetensors"):
        read(path)
    state_dicts.write_old_form(path, tensors, little_endian=False)
    with pytest.raises(CheckpointError, match=r"little-endian.*safetensors"):
        read(path)
    state_dicts.write(path, tensors, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"compressed.*safetensors"):
        read(path)


def test_integers_are_refused_where_they_are_needed(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    state_dicts.write(path, state_dicts.contiguous({"ids": np.arange(3)}))
    stored = next(read_state_dict(path, None))
    assert stored.shape == (3,)
    with pytest.raises(CheckpointError, match=r"ids is int64 \(known: .*float32"):
        stored.read()


@pytest.mark.parametrize("write", [state_dicts.write, state_dicts.write_old_form])
def test_a_file_that_is_cut_short(tmp_path, write):
    path = tmp_path / "pytorch_model.bin"
    write(path, state_dicts.contiguous(ARRAYS))
    content = path.read_bytes()
    for size in (0, 1, 4, 30, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=r"download it again|safetensors"):
            read(path)


def test_a_storage_that_the_list_lacks(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    state_dicts.write_old_form(path, state_dicts.contiguous(ARRAYS))
    keys, content = state_dicts.dumps(["0", "1", "2", "3"]), path.read_bytes()
    assert content.count(keys) == 1
    path.write_bytes(content.replace(keys, state_dicts.dumps(["0", "1", "2", "2"])))
    with pytest.raises(CheckpointError, match=r"lacks 3.*download it again") as raised:
        read(path)
    assert str(path) in str(raised.value)


def test_a_shard_with_other_tensors_than_the_index_lists(tmp_path):
    path = tmp_path / "pytorch_model-00001-of-00001.bin"
    state_dicts.write(path, state_dicts.contiguous(ARRAYS))
    with pytest.raises(CheckpointError, match="disagree about the tensor e"):
        list(read_state_dict(path, {*ARRAYS, "e"}))


def test_a_part_larger_than_any_pickle_is_not_read(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    state_dicts.write(path, {}, change=lambda _: bytes(17 << 20))
    with pytest.raises(CheckpointError, match="more than 16 MB"):
        read(path)


def test_a_name_that_stands_for_nothing_is_never_imported():
    content = io.BytesIO(pickle.dumps(pickle.Pickler))
    with pytest.raises(pickled.RefusedError, match=r"asks for _pickle\.Pickler"):
        pickled.read_pickle(content, {"collections.OrderedDict": dict}, lambda _: None)
