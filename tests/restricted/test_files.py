"""Nothing can be written, nobody knows the user, system calls are refused, files lie where they seldom do."""

import pytest


def first_vector(done, engine="built float32"):
    """Whether the last line is that of a right first vector."""
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(line.startswith(f"0.8669 ({engine}") for line in lines if line.startswith("0.")), lines
    assert lines[-1].startswith("0.8669"), lines


def test_read_only(place):
    done = place(
        "every file system read-only, /tmp and /dev/shm too",
        "tests/restricted/readonly.sh python tests/restricted/first_vector.py $MODEL",
    )
    first_vector(done)
    assert "stays writable" not in done.stderr


def test_nowhere_to_write(place):
    done = place(
        "the same, no HOME, no TMPDIR",
        "TMPDIR=/nowhere tests/restricted/readonly.sh env -u HOME "
        "python tests/restricted/first_vector.py $MODEL",
    )
    first_vector(done)


SOURCES = "cp -r minigte $TMP/minigte && find $TMP/minigte -name '*.kernel' -delete && "


def test_nowhere_for_kernels(place):
    done = place(
        "the same, compiled by Numba, with no kernels compiled before",
        f"{SOURCES}PYTHONPATH=$TMP TMPDIR=/nowhere tests/restricted/readonly.sh env -u HOME "
        ".venv-dev/bin/python tests/restricted/first_vector.py $MODEL float32 jit",
    )
    first_vector(done, "jit float32")
    assert done.stderr == "minigte: compiling its kernels for this processor, once (some seconds)\n"


def test_no_room_for_the_result(place):
    done = place(
        "a result that cannot be written",
        "tests/restricted/readonly.sh minigte embed --model $MODEL --output $TMP/vectors.npy hello",
    )
    assert done.returncode == 1
    assert done.stderr.endswith("/vectors.npy: Read-only file system\n")
    assert done.stderr.count("\n") == 1


def test_a_stranger(place):
    done = place(
        "a user id that /etc/passwd does not know, no HOME, no capabilities",
        "tests/restricted/stranger.sh python tests/restricted/first_vector.py $MODEL",
    )
    first_vector(done)


@pytest.mark.parametrize("backend", ["built", "jit"])
def test_closed_streams(place, backend):
    """Numba's kernels are compiled anew, which has something to say."""
    folder = "" if backend == "built" else ".venv-dev/bin/"
    sources = "" if backend == "built" else f"{SOURCES}export PYTHONPATH=$TMP && "
    done = place(
        f"standard input, output and error closed, as of a service; {backend}",
        f"{sources}"
        f"{folder}minigte embed --model $MODEL --backend {backend} --output $TMP/vectors.npy hello "
        "<&- >&- 2>&- && "
        f"{folder}python -I -c 'import minigte, sys; "
        f'minigte.Embedder(sys.argv[1], backend="{backend}").encode("hello")\' $MODEL <&- >&- 2>&- && '
        "python -c 'import numpy, sys; print(numpy.load(sys.argv[1]).shape)' $TMP/vectors.npy",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(1, 384)\n"


def test_home_cannot_be_written(place):
    done = place(
        "HOME is not writable",
        "mkdir --mode=555 $TMP/home && tests/restricted/stranger.sh env HOME=$TMP/home "
        "python tests/restricted/first_vector.py $MODEL",
    )
    first_vector(done)


def test_tmpdir_cannot_be_written(place):
    done = place(
        "TMPDIR is not writable",
        "mkdir --mode=555 $TMP/tmp && tests/restricted/stranger.sh env TMPDIR=$TMP/tmp "
        "python tests/restricted/first_vector.py $MODEL",
    )
    first_vector(done)


@pytest.mark.parametrize("backend", ["built", "numpy"])
def test_bare(place, backend):
    done = place(
        f"a container without network, /proc and /sys; {backend}",
        f"tests/restricted/bare.sh python tests/restricted/first_vector.py $MODEL float32 {backend}",
    )
    first_vector(done, backend)


def test_seccomp(place):
    done = place(
        "a seccomp filter against sockets, namespaces, tracing, memfd, membarrier, clone3 and more",
        "python tests/restricted/seccomp.py python tests/restricted/first_vector.py $MODEL",
    )
    first_vector(done)


def test_no_executable_memory(place):
    done = place(
        "no memory may become executable (MemoryDenyWriteExecute)",
        "python tests/restricted/mdwe.py python tests/restricted/first_vector.py $MODEL",
    )
    first_vector(done)


def test_no_executable_memory_for_numba(place):
    done = place(
        "the same without built kernels: Numba cannot work, NumPy does",
        "cp -r minigte $TMP/minigte && rm -f $TMP/minigte/engine/kernels-* && PYTHONPATH=$TMP "
        "python tests/restricted/mdwe.py .venv-dev/bin/python tests/restricted/first_vector.py $MODEL",
    )
    first_vector(done, "numpy float32")


def test_flags(place):
    done = place(
        "python -I, -O, -OO, -B, -W error, PYTHONDONTWRITEBYTECODE",
        'for flag in -I -O -OO -B "-W error"; do '
        "python $flag tests/restricted/first_vector.py $MODEL || exit; done; "
        "PYTHONDONTWRITEBYTECODE=1 python tests/restricted/first_vector.py $MODEL",
    )
    first_vector(done)
    assert len(done.stdout.splitlines()) == 6


def test_zipped(place):
    done = place(
        "minigte in a zip file",
        "(cd .venv-restricted/places/built/lib/python3*/site-packages && "
        "python -m zipfile -c $TMP/minigte.zip minigte/) && export PYTHONPATH=$TMP/minigte.zip && "
        "(cd $TMP && python -c 'import minigte; print(minigte.__file__)') && "
        "python tests/restricted/first_vector.py $MODEL",
    )
    first_vector(done)
    assert done.stdout.splitlines()[0].endswith("minigte.zip/minigte/__init__.py")


def test_lambda(place):
    """AWS Lambda: at most 250 MB unzipped, nothing writable but /tmp, 10 s until a function is ready."""
    done = place(
        "AWS Lambda's shape: at most 250 MB unzipped with weights and kernels, half a core, read-only",
        "python -m pip install --quiet --target $TMP/function --no-deps "
        ".venv-dev/dist/*.whl numpy tokenizers safetensors && "
        "cp -rL $MODEL $TMP/function/gte-small && "
        "minigte pack $TMP/function/gte-small --dtype int8 --output $TMP/function/gte-small/int8.packed && "
        "du -sm --apparent-size $TMP/function && PYTHONPATH=$TMP/function "
        "python tests/restricted/cgroup.py --cores 0.5 --memory 256M tests/restricted/readonly.sh "
        "python -S tests/restricted/first_vector.py $TMP/function/gte-small int8",
    )
    assert done.returncode == 0, done.stderr
    _, size, _, similarity, backend, *_, seconds, unit = done.stdout.split()
    assert abs(float(similarity) - 0.867) < 0.003
    assert (backend, unit) == ("(built", "s)")
    assert int(size) < 250
    assert float(seconds) < 10


def test_no_openmp_and_no_tbb(place):
    done = place(
        "no libgomp, no TBB: what is loaded after a first vector",
        "python -I -c 'import sys, runpy; sys.argv[1:] = [sys.argv[1]]; "
        'runpy.run_path("tests/restricted/first_vector.py"); maps = open("/proc/self/maps").read(); '
        'print([name for name in ("libgomp", "libiomp", "libtbb", "libomp") if name in maps])\' $MODEL',
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n[]\n")
