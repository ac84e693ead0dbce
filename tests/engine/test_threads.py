"""Threads, forks, interrupts and exits: right results, no hang, no abort.

What may take a process down runs in a process of its own, which has a minute.
"""

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from random_models import DTYPES, make_batch, make_config, make_engine, random_texts, random_weights

pytestmark = pytest.mark.slow

CONFIG = make_config(num_hidden_layers=4, max_position_embeddings=300)
BATCHES = [make_batch(random_texts(CONFIG, [length] * 5, length)) for length in range(1, 60)]
LONG = make_batch(random_texts(CONFIG, [300]))

SETUP = f"""
import os, signal, sys, threading, time
sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
import numpy as np
from random_models import make_batch, make_config, make_engine, random_texts, random_weights

config = make_config(num_hidden_layers=4, max_position_embeddings=300)
batches = [make_batch(random_texts(config, [length] * 5, length)) for length in range(1, 60)]
long = [make_batch(random_texts(config, [300]))]
weights = random_weights(config)
engine = make_engine(config, weights, threads=2)

def run(of=engine):
    return [states for work in (batches, long) for _, states in of.last_hidden_states(work)]

def check(of=engine):
    assert all(map(np.array_equal, run(of), wanted))

wanted = run(make_engine(config, weights, threads=1))
"""


def in_a_process(script: str) -> str:
    """Run the script after SETUP; returns what it printed."""
    command = [sys.executable, "-c", SETUP + textwrap.dedent(script)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.parametrize("dtype", DTYPES)
def test_eight_python_threads_on_one_engine(dtype: str) -> None:
    engine = make_engine(CONFIG, random_weights(CONFIG), dtype=dtype, threads=2)

    def work(_: int) -> list[np.ndarray]:
        return [states for some in (BATCHES, [LONG]) for _, states in engine.last_hidden_states(some)]

    wanted = work(0)
    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(work, range(16)):
            assert all(map(np.array_equal, results, wanted))


def test_more_threads_than_cores() -> None:
    wanted = [
        h for _, h in make_engine(CONFIG, random_weights(CONFIG), threads=1).last_hidden_states(BATCHES)
    ]
    engine = make_engine(CONFIG, random_weights(CONFIG), threads=24)
    for work in (BATCHES, BATCHES[-1:]):
        results = [h for _, h in engine.last_hidden_states(work)]
        assert all(map(np.array_equal, results, wanted[-len(work) :]))


def test_a_forgotten_iterator_leaves_nothing_behind() -> None:
    engine = make_engine(CONFIG, random_weights(CONFIG), threads=2)
    for _ in range(50):
        next(engine.last_hidden_states(BATCHES))
    assert len(list(engine.last_hidden_states(BATCHES))) == len(BATCHES)


def test_fork_after_use() -> None:
    in_a_process("""
        run()
        for _ in range(5):
            if child := os.fork():
                check()
                assert os.waitpid(child, 0)[1] == 0
            else:
                check()
                os._exit(0)
    """)


def test_fork_while_another_thread_is_inside() -> None:
    in_a_process("""
        stop = False
        def keep_busy():
            while not stop:
                check()
        threads = [threading.Thread(target=keep_busy) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            if child := os.fork():
                assert os.waitpid(child, 0)[1] == 0
            else:
                check()
                os._exit(0)
        stop = True
        for thread in threads:
            thread.join()
    """)


def test_forked_workers_of_a_pool_that_exit_normally() -> None:
    in_a_process("""
        import multiprocessing
        run()
        def same(_):
            check()
            return True
        with multiprocessing.get_context("fork").Pool(3) as pool:
            assert pool.map(same, range(6)) == [True] * 6
            pool.close()
            pool.join()
    """)


def test_spawn(tmp_path: Path) -> None:
    script = tmp_path / "spawned.py"
    script.write_text(
        SETUP
        + textwrap.dedent("""
        def same(_):
            check()
            return True

        if __name__ == "__main__":
            import multiprocessing
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                assert pool.map(same, range(4)) == [True] * 4
    """)
    )
    subprocess.run([sys.executable, script], timeout=60, check=True)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals here")
def test_keyboard_interrupt_at_any_time() -> None:
    in_a_process("""
        signal.signal(signal.SIGALRM, signal.default_int_handler)  # raises KeyboardInterrupt
        for i in range(100):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 * (i + 1))
                while True:
                    for _ in engine.last_hidden_states(batches if i % 2 else long):
                        pass
            except KeyboardInterrupt:
                pass
        check()
    """)


def test_exit_with_work_under_way() -> None:
    """Many exits, because where the caller's daemon threads are when the interpreter ends is chance."""
    printed = in_a_process("""
        def for_ever():
            while True:
                run()
        for _ in range(20):
            if child := os.fork():
                assert os.waitpid(child, 0)[1] == 0
                continue
            for _ in range(3):
                threading.Thread(target=for_ever, daemon=True).start()
            begun = engine.last_hidden_states(batches)
            next(begun)
            sys.exit()
        print("left")
    """)
    assert printed == "left\n"


def test_use_while_the_interpreter_shuts_down() -> None:
    printed = in_a_process("""
        import atexit
        run()
        atexit.register(lambda: (check(), print("checked")))
    """)
    assert printed == "checked\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_one_core() -> None:
    in_a_process("""
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        assert make_engine(config, weights).threads == 1
        check(make_engine(config, weights))
        check(make_engine(config, weights, threads=4))
    """)


def test_neither_openmp_nor_numbas_threading_layer_is_used() -> None:
    pytest.importorskip("numba")
    in_a_process("""
        import numba
        for layer in ("omppool", "tbbpool", "workqueue"):
            sys.modules["numba.np.ufunc." + layer] = None
        check()
        try:
            raise SystemExit(numba.threading_layer())
        except ValueError:
            pass  # none was started
    """)
