"""Packed weights in files: the same bits as in memory, whatever becomes of file, folder and model."""

import mmap
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tiny
from places import ROOT

from minigte import CrossEncoder, Embedder
from minigte.backend import choose_backend
from minigte.errors import CheckpointError
from minigte.loading import hashes, packed_folders

if choose_backend("auto", "float32") == "numpy":
    pytest.skip("there are no kernels to pack for", allow_module_level=True)

# Large enough that it is kept in the cache, 10 MB.
CONFIG = tiny.config(hidden_size=240, num_hidden_layers=3, num_attention_heads=6, intermediate_size=960)
TEXTS = ["the cat sat", "", "a dog on the mat"]
MINIGTE = [sys.executable, "-m", "minigte"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "SETTLED", 0.0)
    return tmp_path / "cache" / "packed"


@pytest.fixture
def folder(tmp_path):
    return tiny.write_model(tmp_path / "model", CONFIG)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """What the model's vectors are, computed without any file."""
    folder = tiny.write_model(tmp_path_factory.mktemp("model"), CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIGTE_CACHE", "/dev/null")
        embedder = Embedder(folder)
    assert embedder.backend.weights_are.startswith("packed in memory (")
    return embedder.encode(TEXTS)


def loaded(folder, where, expected, **options):
    """The Embedder of a folder, whose weights are ``where`` and whose vectors are the expected bits."""
    embedder = Embedder(folder, **options)
    assert where in embedder.backend.weights_are
    np.testing.assert_array_equal(embedder.encode(TEXTS), expected)
    return embedder


def packed(cache):
    return sorted(cache.glob("*.packed"))


def run(*command, **environment):
    return subprocess.run(
        [*map(str, command)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def first_vectors(folder, *launcher, **environment):
    """Vectors and where the weights are, of a process of its own."""
    code = (
        "import sys, minigte; e = minigte.Embedder(sys.argv[1]); print(e.backend.weights_are)\n"
        f"print(e.encode({TEXTS!r}).tobytes().hex())"
    )
    done = run(*launcher, sys.executable, "-c", code, folder, **environment)
    assert done.returncode == 0, done.stderr
    where, vectors = done.stdout.splitlines()
    return where, np.frombuffer(bytes.fromhex(vectors), np.float32).reshape(len(TEXTS), -1)


def test_the_second_load_maps_what_the_first_has_written(folder, cache, vectors):
    loaded(folder, "mapped from", vectors)
    [path] = packed(cache)
    inode = path.stat().st_ino
    embedder = loaded(folder, f"mapped from {path}", vectors)
    assert packed(cache) == [path]
    assert path.stat().st_ino == inode
    weights = embedder.backend._model.output.panels
    assert isinstance(weights.base, mmap.mmap)
    with pytest.raises(ValueError, match="read-only"):
        weights[...] = 0


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("stored", ["F16", "BF16"])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_what_a_checkpoint_has_in_16_bits_has_the_bits_of_float32(
    tmp_path, cache, monkeypatch, dtype, stored, shards
):
    monkeypatch.setattr(packed_folders, "SMALL", 1 << 20)
    folder = tiny.write_model(tmp_path / "16 bits", CONFIG, dtype=stored, shards=shards)
    wide = tiny.write_model(tmp_path / "32 bits", CONFIG)
    arrays = {name: tiny.STORED[stored](array) for name, array in tiny.tensors(CONFIG).items()}
    tiny.write_safetensors(wide / "model.safetensors", arrays)
    embedder = Embedder(wide, dtype=dtype)
    vectors, level = embedder.encode(TEXTS), embedder.backend._kernels.level
    [of_wide] = packed(cache)
    of_wide.rename(wide / of_wide.name)
    embedder = loaded(folder, "mapped from", vectors, dtype=dtype)
    [path] = packed(cache)
    halved = CONFIG.vocab_size * CONFIG.hidden_size
    if dtype == "float32" and stored == "F16" and level.float16:
        model = embedder.backend._model
        matrices = model.query_key, model.value, model.attention_output, model.intermediate, model.output
        halved += sum(matrix.halves.size for matrix in matrices)
        assert sum(matrix.panels.size for matrix in matrices) == 0
    saved = (wide / of_wide.name).stat().st_size - path.stat().st_size
    assert abs(saved - 2 * halved) < 1000  # what is around arrays aside
    monkeypatch.setenv("MINIGTE_CACHE", "/dev/null")
    loaded(folder, "packed in memory", vectors, dtype=dtype)


def test_layers_of_which_one_tensor_has_float32_are_kept_in_float32(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGTE_CACHE", "/dev/null")
    folder = tiny.write_model(tmp_path / "model", CONFIG)
    arrays = tiny.tensors(CONFIG)
    alone = next(name for name in arrays if name.endswith("output.dense.weight"))
    state = {name: array if name == alone else np.float16(array) for name, array in arrays.items()}
    safetensors.numpy.save_file(state, folder / "model.safetensors")
    vectors = Embedder(folder).encode(TEXTS)
    arrays = {name: np.float32(array) for name, array in state.items()}
    tiny.write_safetensors(folder / "model.safetensors", arrays)
    loaded(folder, "packed in memory", vectors)


def test_a_cross_encoder_maps_its_weights(tmp_path, cache, monkeypatch):
    folder, pairs = (
        tiny.write_cross_encoder(tmp_path / "pairs", CONFIG),
        [("the cat", text) for text in TEXTS],
    )
    CrossEncoder(folder)
    [path] = packed(cache)
    mapped = CrossEncoder(folder)
    assert mapped.backend.weights_are == f"mapped from {path}"
    assert packed(cache) == [path]
    monkeypatch.setenv("MINIGTE_CACHE", "/dev/null")
    alone = CrossEncoder(folder)
    assert alone.backend.weights_are.startswith("packed in memory (")
    np.testing.assert_array_equal(mapped.predict(pairs), alone.predict(pairs))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_every_dtype_has_a_file_of_its_own(folder, cache, dtype, monkeypatch):
    monkeypatch.setattr(packed_folders, "SMALL", 1 << 20)
    mapped = Embedder(folder, dtype=dtype)
    assert [path.name.partition("-")[0] for path in packed(cache)] == [dtype]
    monkeypatch.setenv("MINIGTE_CACHE", "/dev/null")
    np.testing.assert_array_equal(mapped.encode(TEXTS), Embedder(folder, dtype=dtype).encode(TEXTS))


def test_a_packed_file_is_a_safetensors_file(folder, cache):
    embedder = Embedder(folder)
    [path] = packed(cache)
    with safetensors.safe_open(path, framework="numpy") as file:
        assert file.metadata()["form"] == f"float32 {embedder.backend._kernels.level.panel}x1"
        np.testing.assert_array_equal(
            file.get_tensor("query_key.panels"), embedder.backend._model.query_key.panels
        )


def test_any_flipped_bit_is_found(folder, cache, vectors):
    Embedder(folder)
    [path] = packed(cache)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    places = [0, 9, header - 1, header, len(whole) - 1, *rng.integers(0, len(whole), 5).tolist()]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        loaded(folder, "mapped from", vectors)  # it was packed again
        assert path.read_bytes() == whole


@pytest.mark.parametrize("size", [0, 7, 1000, -(1 << 20), -1])
def test_a_cut_file_is_found(folder, cache, vectors, size):
    Embedder(folder)
    [path] = packed(cache)
    whole = path.read_bytes()
    path.write_bytes(whole[:size])
    loaded(folder, "mapped from", vectors)
    assert path.read_bytes() == whole
    path.write_bytes(whole + b"\0")
    loaded(folder, "mapped from", vectors)
    assert path.read_bytes() == whole


def test_a_damaged_file_beside_the_model_is_passed_over(folder, cache, vectors):
    own = folder / "own.packed"
    Embedder(folder)
    [path] = packed(cache)
    shutil.move(path, own)
    loaded(folder, f"mapped from {own}", vectors)
    assert packed(cache) == []
    damaged = bytearray(own.read_bytes())
    damaged[-100000] ^= 4
    own.write_bytes(damaged)
    loaded(folder, f"mapped from {path}", vectors)
    assert own.read_bytes() == damaged  # it is the user's


@pytest.mark.parametrize("path", ["/dev/zero", "/", "no such file"])
def test_what_is_no_file_beside_the_model_is_passed_over(folder, vectors, path):
    (folder / "a.packed").symlink_to(path)
    os.mkfifo(folder / "b.packed")
    loaded(folder, "mapped from", vectors)


def test_weights_that_change_under_the_same_path(folder, cache, vectors):
    """In place, by a copy that keeps the old times, and by another file of the same size and time."""
    path = folder / "model.safetensors"
    others = tiny.write_model(folder.parent / "others", CONFIG, seed=1)
    other = Embedder(others, backend="numpy").encode(TEXTS)
    loaded(folder, "mapped from", vectors)
    times = path.stat()
    first = path.read_bytes()
    for contents, expected in ((others / "model.safetensors").read_bytes(), other), (first, vectors):
        path.write_bytes(contents)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        embedder = Embedder(folder)
        np.testing.assert_allclose(embedder.encode(TEXTS), expected, rtol=0, atol=1e-6)
    new = folder / "new"
    shutil.copy(others / "model.safetensors", new)
    os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
    new.replace(path)
    np.testing.assert_allclose(Embedder(folder).encode(TEXTS), other, rtol=0, atol=1e-6)
    assert len(packed(cache)) == 2


def test_a_config_that_changes_under_the_same_path(folder, cache):
    Embedder(folder)
    for changed in {"layer_norm_eps": 0.5}, {"hidden_act": "relu"}, {"num_attention_heads": 8}:
        tiny.write_model(folder, tiny.dataclasses.replace(CONFIG, **changed))
        expected = Embedder(folder, backend="numpy").encode(TEXTS)
        np.testing.assert_allclose(Embedder(folder).encode(TEXTS), expected, rtol=0, atol=1e-6)


def test_shards_are_all_looked_at(tmp_path, cache):
    folder = tiny.write_model(tmp_path / "sharded", CONFIG, shards=3)
    first = loaded(folder, "mapped from", Embedder(folder).encode(TEXTS)).encode(TEXTS)
    tiny.write_model(folder, CONFIG, shards=3, seed=1)
    assert not np.array_equal(Embedder(folder).encode(TEXTS), first)
    assert len(packed(cache)) == 2
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00003\.safetensors is missing"):
        Embedder(folder)


def test_the_hash_is_computed_once_and_again_after_any_change(tmp_path):
    path, memory = tmp_path / "weights", tmp_path / "memory"
    path.write_bytes(b"1" * hashes.SMALL)
    time.sleep(0.05)
    first = hashes.remembered_sha256(path, memory)
    assert first == hashes.sha256_of(path)
    [note] = (memory / "sha256").iterdir()
    note.write_text(note.read_text().replace(first, "remembered"))
    assert hashes.remembered_sha256(path, memory) == "remembered"
    os.utime(path)
    assert hashes.remembered_sha256(path, memory) == first
    note.write_text("{")
    assert hashes.remembered_sha256(path, memory) == first


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(hashes, "SETTLED", 2.0)
    (tmp_path / "weights").write_bytes(b"1" * hashes.SMALL)
    hashes.remembered_sha256(tmp_path / "weights", tmp_path / "memory")
    assert not (tmp_path / "memory").exists()


def test_small_models_are_packed_in_memory(tmp_path, cache):
    embedder = Embedder(tiny.write_model(tmp_path / "tiny"))
    assert embedder.backend.weights_are.startswith("packed in memory (")
    assert not cache.exists()


def test_the_cache_has_a_limit(folder, cache, vectors, monkeypatch):
    Embedder(folder)
    [first] = packed(cache)
    size = first.stat().st_size  # which the processor's panels decide
    monkeypatch.setattr(packed_folders, "LIMIT", size + size // 2)
    os.utime(first, (1, 1))
    (cache / f".{first.name}.abc.part").write_bytes(bytes(size // 2))
    os.utime(cache / f".{first.name}.abc.part", (0, 0))
    tiny.write_model(folder, CONFIG, seed=1)
    Embedder(folder)
    [second] = packed(cache)
    assert second != first
    assert sorted(cache.glob(".*")) == []
    tiny.write_model(folder, CONFIG)
    monkeypatch.setattr(packed_folders, "LIMIT", size - 1)
    loaded(folder, "packed in memory", vectors)
    assert packed(cache) == [second]


def test_what_is_used_stays(folder, cache, vectors):
    Embedder(folder)
    [path] = packed(cache)
    os.utime(path, (1, 1))
    loaded(folder, f"mapped from {path}", vectors)
    assert path.stat().st_mtime > time.time() - 60


def test_processes_that_pack_at_once_share_one_file(folder, cache, vectors):
    code = (
        "import sys, minigte; e = minigte.Embedder(sys.argv[1])\n"
        f"print(e.encode({TEXTS!r}).tobytes().hex())\n"
        "print([line.split()[4] for line in open('/proc/self/maps') if '.packed' in line], flush=True)\n"
        "sys.stdin.read()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    inodes = set()
    for process in processes:
        assert process.stdout.readline().strip() == vectors.tobytes().hex()
        inodes.add(process.stdout.readline())
    for process in processes:
        process.communicate(timeout=60)
    assert len(packed(cache)) == 1
    assert sorted(cache.glob(".*")) == []
    assert len(inodes) == 1


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for half of a packed file."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if run("mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", disk).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield disk
    run("umount", disk)


def test_a_full_disk(folder, small_disk, vectors, monkeypatch):
    monkeypatch.setattr(packed_folders, "SHARE", 0.1)  # try it all the same
    loaded(folder, "No space left on device", vectors, cache_folder=small_disk)
    assert sorted(small_disk.rglob("*.pa*")) == []  # nor anything that was begun
    done = run(*MINIGTE, "pack", folder, "--output", small_disk / "x.packed")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"cannot write {small_disk / 'x.packed'}: No space left on device" in done.stderr
    assert sorted(small_disk.rglob("*.pa*")) == []


def test_a_disk_with_little_room_is_left_alone(folder, small_disk, vectors):
    loaded(folder, "a tenth of what is free there", vectors, cache_folder=small_disk)
    assert packed(small_disk / "packed") == []


@pytest.mark.parametrize("kept", [False, True])
def test_read_only_caches(folder, cache, vectors, kept):
    """Root may write anywhere, so it is the file system that refuses."""
    if kept:
        Embedder(folder)
    root = cache.parent
    root.mkdir(exist_ok=True)
    script = f'mount --bind {root} {root} && mount -o remount,ro,bind {root} && exec "$@"'
    launcher = ("unshare", "--mount", "sh", "-c", script, "sh")
    if run(*launcher, "true").returncode != 0:
        pytest.skip("mounting a file system read-only needs root")
    where, found = first_vectors(folder, *launcher)
    assert where.startswith("mapped from" if kept else "packed in memory (")
    np.testing.assert_array_equal(found, vectors)


def test_no_cache_folder(folder, vectors, monkeypatch):
    monkeypatch.delenv("MINIGTE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    loaded(folder, "there is no cache folder", vectors)


def test_mmap_is_refused(folder, cache, vectors):
    """A seccomp filter refuses to map files shared, as a security module may."""
    Embedder(folder)
    launcher = (sys.executable, ROOT / "tests" / "restricted" / "seccomp.py", "--no-shared-maps")
    if run(*launcher, "true").returncode == 77:
        pytest.skip("no seccomp filter here")
    where, found = first_vectors(folder, *launcher)
    assert where.startswith("packed in memory (")
    assert "cannot be mapped" in where
    np.testing.assert_array_equal(found, vectors)


def test_pack_writes_what_an_embedder_finds(folder, cache, vectors):
    output = folder / "mine.packed"
    done = run(*MINIGTE, "pack", folder, "--output", output)
    assert (done.returncode, done.stdout) == (0, f"{output}\n"), done.stderr
    loaded(folder, f"mapped from {output}", vectors)
    assert packed(cache) == []
    info = run(*MINIGTE, "info", "--model", folder)
    assert f"mapped from {output}" in info.stdout
    assert f"{cache}, 0 MB" in info.stdout
    copy = shutil.copytree(folder, folder.parent / "copy")  # into another image, with other times
    loaded(copy, f"mapped from {copy / 'mine.packed'}", vectors)


@pytest.mark.parametrize("modules", [False, True])
def test_pack_writes_what_a_cross_encoder_finds(tmp_path, cache, modules):
    """Also where there is no network, and nothing can be written."""
    folder = tiny.write_cross_encoder(tmp_path / "pairs", CONFIG, modules=modules)
    output = folder / "mine.packed"
    done = run(*MINIGTE, "pack", folder, "--output", output)
    assert (done.returncode, done.stdout) == (0, f"{output}\n"), done.stderr
    model = CrossEncoder(folder)
    assert model.backend.weights_are == f"mapped from {output}"
    assert not cache.exists()
    info = run(*MINIGTE, "info", "--model", folder)
    assert f"mapped from {output}" in info.stdout
    (tmp_path / "texts.txt").write_text("\n".join(filter(None, TEXTS)))
    rerank = [*MINIGTE, "rerank", "the cat", tmp_path / "texts.txt", "--model", folder]
    ranked = run(*rerank)
    assert ranked.returncode == 0, ranked.stderr
    script = f'mount --bind {tmp_path} {tmp_path} && mount -o remount,ro,bind {tmp_path} && exec "$@"'
    launcher = ("unshare", "--mount", "--net", "sh", "-c", script, "sh")
    if run(*launcher, "true").returncode != 0:
        pytest.skip("mounting a file system read-only needs root")
    alone = run(*launcher, *rerank)
    assert (alone.returncode, alone.stdout) == (0, ranked.stdout), alone.stderr
    assert f"mapped from {output}" in run(*launcher, *MINIGTE, "info", "--model", folder).stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems limit no such memory")
def test_packing_holds_one_array_at_a_time(tmp_path):
    """75 MB of weights are packed in 32 MB more than the program has when it begins."""
    sizes = {"hidden_size": 320, "num_hidden_layers": 16, "num_attention_heads": 5, "intermediate_size": 1280}
    folder = tiny.write_model(tmp_path / "model", tiny.config(**sizes))
    code = """
import resource, sys
from pathlib import Path
from minigte.cli.main import main
from minigte import backend, embedder  # what is imported later would count
backend.kernels(backend.choose_backend("auto", "float32"))
has = int(Path("/proc/self/status").read_text().partition("VmData:")[2].split()[0]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (has + (32 << 20),) * 2)
sys.argv[1:] = ["pack", *sys.argv[1:]]
main()
"""
    done = run(sys.executable, "-c", code, folder, "--output", folder / "x.packed")
    assert done.returncode == 0, done.stderr
    assert (folder / "x.packed").stat().st_size > 75e6
    loaded(folder, "mapped from", Embedder(folder).encode(TEXTS))


def test_pack_says_what_is_wrong(folder, tmp_path):
    done = run(*MINIGTE, "pack", folder)
    assert (done.returncode, "--output" in done.stderr) == (2, True)
    done = run(*MINIGTE, "pack", folder, "--output", folder / "x")
    assert done.returncode == 1
    assert "must end in .packed" in done.stderr
    done = run(*MINIGTE, "pack", folder, "--output", tmp_path / "x.packed")
    assert done.returncode == 0
    assert f"will be found once it is in {folder}" in done.stderr


def test_processes_share_mapped_weights(folder, cache):
    """What a process that has read all weights has of them for itself is nothing."""
    Embedder(folder)
    code = f"""
import sys, minigte
e = minigte.Embedder(sys.argv[1]); e.encode({TEXTS!r})
print("ready", flush=True); sys.stdin.read()
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        smaps = Path(f"/proc/{processes[1].pid}/smaps")
        if not smaps.exists():
            pytest.skip("no /proc/PID/smaps here")
        [mapping] = [part for part in smaps.read_text().split("VmFlags:") if ".packed" in part]
        sizes = {
            line.split(":")[0]: int(line.split()[1]) for line in mapping.splitlines() if line.endswith(" kB")
        }
        assert sizes["Rss"] > 7000
        assert sizes["Private_Clean"] + sizes["Private_Dirty"] == 0
    finally:
        for process in processes:
            process.communicate(timeout=60)
