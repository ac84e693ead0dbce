"""What a second thread brings, and what it costs: the figures of the course's page 9.

    python bench/threads.py [--data DIR] [--model DIR] [--json FILE]

Many texts and one text on one thread and on two; the engine's barrier and the forming of a team; what
Python's lock lets two threads do; and what Numba's own pools of threads cost and refuse.
``course.py`` makes the tables and the picture from the JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import machine
import numba
import numpy as np
import ops
import texts

from minigte import Embedder
from minigte.engine.helpers import Helpers, Job
from minigte.engine.jit import kernel
from minigte.engine.team import barrier, follow, lead
from minigte.engine.workspace import meeting_point

ROUNDS = 5
DTYPES = ("float32", "int8")
SENTENCES, DOCUMENTS, SINGLES = 256, 16, 15  # texts of one measurement
BARRIERS, TEAMS, REGIONS = 1000, 21, 1000
ONE_TEXT = {"one sentence": 10, "one document": 512}  # tokens

# Numba's pools, each in a process of its own because both may end it.
REGION = """
import time, numba, numpy
@numba.njit(parallel=True)
def region(x):
    for i in numba.prange(len(x)):
        x[i] += 1
x = numpy.zeros(2)
region(x)
start = time.perf_counter()
for _ in range({regions}):
    region(x)
print((time.perf_counter() - start) / {regions} * 1e6)
"""
AT_ONCE = """
import threading
def use():
    for _ in range(200):
        region(numpy.zeros(1000))
threads = [threading.Thread(target=use) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
AFTER_FORK = """
import os
child = os.fork()
if child == 0:
    region(x)
    os._exit(0)
_, status = os.waitpid(child, 0)
raise SystemExit(os.waitstatus_to_exitcode(status) != 0)
"""


@kernel
def meet(meeting, wanted, times):
    """Form a team of two, pass so many barriers, say how many came."""
    _, size = (0, lead(meeting, wanted)) if wanted > 0 else follow(meeting)
    for _ in range(times if size > 0 else 0):  # who comes too late meets nobody
        barrier(meeting, size)
    return size


@kernel
def count(times):
    """Work for compiled code that lets go of Python's lock."""
    return count_to(times)


@numba.njit
def count_to(times):
    """The same work, holding it: so many numbers of a generator that cannot be skipped."""
    x = np.uint32(1)
    for _ in range(times):
        x = np.uint32(x * np.uint32(1664525) + np.uint32(1013904223))
    return x


def count_in_python(times: int) -> int:
    """The same in Python."""
    x = 1
    for _ in range(times):
        x = (x * 1664525 + 1013904223) % 2**32
    return x


def seconds(call: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def team_seconds(helpers: Helpers, times: int) -> float | None:
    """Forming a team of two and passing so many barriers; None where the helper came too late."""
    meeting = meeting_point()
    start = time.perf_counter()
    helpers.offer(Job(meet, meeting, 0, times))
    size = meet(meeting, 2, times)
    taken = time.perf_counter() - start
    return taken if size == 2 else None


def texts_of(data: Path, model: Path) -> dict[str, list[str]]:
    """Many sentences, many documents, and texts to be encoded one call each."""
    tokenizer = texts.load_tokenizer(model)
    documents = texts.read_documents(data)
    found = {
        "many sentences": texts.read_sentences(data)[:SENTENCES],
        "many documents": documents[:DOCUMENTS],
    }
    encoded = [encoding.ids[1:-1] for encoding in tokenizer.encode_batch(documents[:300])]
    for name, tokens in ONE_TEXT.items():
        found[name] = [tokenizer.decode(ids[: tokens - 2]) for ids in encoded if len(ids) >= tokens - 2][
            :SINGLES
        ]
    return found


def embed(data: Path, model: Path) -> dict[str, Any]:
    """Seconds a text on one thread and on two, by workload and dtype, one figure a round."""
    workloads = texts_of(data, model)
    tokenizer = texts.load_tokenizer(model)
    tokens = {
        n: sum(len(e) for e in tokenizer.encode_batch(some)) / len(some) for n, some in workloads.items()
    }
    embedders = {
        (dtype, threads): Embedder(model, backend="auto", dtype=dtype, threads=threads)
        for dtype in DTYPES
        for threads in (1, 2)
    }
    found = {name: {dtype: {"1": [], "2": []} for dtype in DTYPES} for name in workloads}
    for embedder in embedders.values():
        embedder.encode(workloads["one sentence"])
    for _ in range(ROUNDS):
        for name, some in workloads.items():
            for (dtype, threads), embedder in embedders.items():
                if name in ONE_TEXT:
                    taken = median(
                        seconds(lambda e=embedder, t=text: e.encode(t, truncation="ignore")) for text in some
                    )
                else:
                    taken = seconds(lambda e=embedder, s=some: e.encode(s, truncation="ignore")) / len(some)
                found[name][dtype][str(threads)].append(taken)
    return {"tokens": tokens, "seconds": found}


def meetings() -> dict[str, list[float]]:
    """Seconds of forming a team of two, and of one barrier of it."""
    helpers = Helpers(1)
    for times in (0, 1):
        team_seconds(helpers, times)

    def formed(times: int) -> list[float]:
        """TEAMS of them; on a busy machine most helpers come too late."""
        tried = (team_seconds(helpers, times) for _ in range(100 * TEAMS))
        return list(itertools.islice((taken for taken in tried if taken is not None), TEAMS))

    return {"team": formed(0), "barrier": [run / BARRIERS for run in formed(BARRIERS)]}


def lock() -> dict[str, list[float]]:
    """How many times as much two threads do in the time of one, for three ways to run the same loop."""
    ways = {
        "Python": (count_in_python, 300_000),
        "Numba, holding the lock": (count_to, 20_000_000),
        "Numba, nogil=True": (count, 20_000_000),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            for name, (function, times) in ways.items():
                function(times)
                alone = seconds(lambda f=function, t=times: f(t))
                both = seconds(lambda f=function, t=times: list(pool.map(f, (t, t))))
                found[name].append(2 * alone / both)
    return found


def numbas_pools() -> dict[str, Any]:
    """Of Numba's thread pools: microseconds of an empty region, and how two kinds of use end."""
    found = {}
    for layer in ("workqueue", "omp"):
        found[layer] = {}
        for use, code in {"region": "", "at once": AT_ONCE, "after fork": AFTER_FORK}.items():
            process = subprocess.run(
                [sys.executable, "-c", REGION.format(regions=REGIONS) + code],
                env={**os.environ, "NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            said = process.stderr.strip().splitlines()
            found[layer][use] = {
                "exit": process.returncode,
                "printed": process.stdout.strip(),
                "said": next((line for line in said if line.startswith(("Terminating", "Concurrent"))), ""),
            }
    return found


def main() -> None:
    """Measure, print, write."""
    arguments = texts.read_arguments(__doc__)
    result: dict[str, Any] = {
        "machine": machine.facts(),
        "processor": ops.processor(),
        "busy_before": machine.busy(),
    }
    print("barriers and teams ...", file=sys.stderr)
    result["meetings"] = meetings()
    print("Python's lock ...", file=sys.stderr)
    result["lock"] = lock()
    print("Numba's pools ...", file=sys.stderr)
    result["pools"] = numbas_pools()
    print("texts ...", file=sys.stderr)
    result |= embed(arguments.data, arguments.model)
    for name, values in result["meetings"].items():
        print(f"{name}: {median(values) * 1e6:.3f} µs")
    for name, values in result["lock"].items():
        print(f"two threads, {name}: {median(values):.2f}")
    for layer, uses in result["pools"].items():
        print(layer, uses)
    for name, by_dtype in result["seconds"].items():
        for dtype, by_threads in by_dtype.items():
            one, two = (median(by_threads[threads]) for threads in ("1", "2"))
            print(f"{name}, {dtype}: {one * 1e3:.2f} ms a text on one thread, {two * 1e3:.2f} on two")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
