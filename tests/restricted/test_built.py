"""The wheel's kernels where a compiler could not be, or where no library may be loaded."""

import pytest


@pytest.mark.parametrize(("dtype", "memory"), [("float32", 160), ("int8", 128)])
def test_little_memory(place, dtype, memory):
    done = place(
        f"{memory} MB, {dtype}, nothing prepared",
        f"python tests/restricted/cgroup.py --memory {memory}M "
        f"python tests/restricted/first_vector.py $MODEL {dtype}",
    )
    assert done.returncode == 0, done.stderr
    assert f"(built {dtype}" in done.stdout


NOEXEC = (
    "mkdir $TMP/noexec && unshare --mount bash -c '"
    "mount -t tmpfs -o noexec nothing $TMP/noexec && "
    "cp -r .venv-restricted/places/built/lib/python3*/site-packages/minigte $TMP/noexec && "
    "PYTHONPATH=$TMP/noexec {}'"
)


def test_no_library_may_be_loaded(place):
    """The system refuses to map its code; NumPy's own lies elsewhere."""
    done = place(
        "minigte in a folder mounted noexec, float32",
        NOEXEC.format("python tests/restricted/first_vector.py $MODEL"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0.8669 (numpy float32")


def test_no_library_may_be_loaded_and_it_must_be(place):
    done = place(
        "minigte in a folder mounted noexec, int8",
        NOEXEC.format("minigte embed --model $MODEL --dtype int8 hello"),
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "cannot be loaded" in line
    assert "failed to map segment" in line
