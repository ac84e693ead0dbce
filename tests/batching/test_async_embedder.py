"""AsyncEmbedder: the bits of Embedder.encode whatever is in flight, its bounds, and what cancels or fails."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import tiny

import minigte
from minigte import (
    AsyncEmbedder,
    CheckpointError,
    ClosedError,
    Embedder,
    InputError,
    InputTooLongError,
    QueueFullError,
    QueueTimeoutError,
    TruncationWarning,
    UnsupportedError,
)
from minigte.backend import choose_backend
from minigte.batching.batcher import Job, _Work

BACKENDS = list({"numpy": None, choose_backend("auto", "float32"): None})
WORDS = ("the", "cat", "dog", "sat", "on", "mat", "run", "query", "中", "é")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with prompts; its vectors have length 1."""
    folder = tiny.write_model(tmp_path_factory.mktemp("tiny") / "model")
    return tiny.write_sentence_transformers(folder, prompts={"query": "query: ", "passage": "passage: "})


@pytest.fixture(scope="module", params=BACKENDS)
def embedder(request: pytest.FixtureRequest, folder: Path) -> Embedder:
    return Embedder(folder, backend=request.param, threads=None if request.param == "numpy" else 3)


def texts(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(0, 25))) for _ in range(count)]


def gte_texts(count: int) -> list[str]:
    rng = np.random.default_rng(1)
    words = ("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world")
    return [" ".join(rng.choice(words, 1 + int(rng.exponential(12)) % 200)) for _ in range(count)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalize_embeddings": True},
        {"truncate_dim": 7, "normalize_embeddings": True},
        {"precision": "ubinary"},
        {"prompt_name": "query"},
        {"prompt": "the "},
        {"truncation": "ignore"},
    ],
)
def test_encode_gives_what_the_embedder_gives(embedder, options):
    async def main():
        async with AsyncEmbedder(embedder) as served:
            for sentences in ("the cat sat", [], ["the cat sat", "", "dog"], (text for text in ["a", "b"])):
                given = list(sentences) if not isinstance(sentences, (str, list)) else sentences
                expected = embedder.encode(given, **options)
                got = await served.encode(given, **options)
                assert got.dtype == expected.dtype
                np.testing.assert_array_equal(got, expected)

    asyncio.run(main())


def test_queries_documents_and_token_embeddings(embedder):
    async def main():
        async with AsyncEmbedder(embedder) as served:
            for name in ("encode_query", "encode_document"):
                expected = getattr(embedder, name)(["a cat", "on"])
                np.testing.assert_array_equal(await getattr(served, name)(["a cat", "on"]), expected)
            for sentences in ("a cat", ["a cat", "on the mat"]):
                expected = embedder.encode(sentences, output_value="token_embeddings")
                got = await served.encode(sentences, output_value="token_embeddings")
                if isinstance(sentences, str):
                    got, expected = [got], [expected]
                for mine, right in zip(got, expected, strict=True):
                    np.testing.assert_array_equal(mine, right)

    asyncio.run(main())


def test_a_model_cut_to_fewer_dimensions(folder):
    embedder = Embedder(folder, truncate_dim=5)

    async def main():
        async with AsyncEmbedder(embedder) as served:
            np.testing.assert_array_equal(await served.encode(["a", "cat"]), embedder.encode(["a", "cat"]))
            assert (await served.encode([])).shape == (0, 5)
            np.testing.assert_array_equal(
                await served.encode("cat", truncate_dim=9), embedder.encode("cat", truncate_dim=9)
            )

    asyncio.run(main())


def test_the_same_text_has_the_same_bits_whatever_is_in_flight(embedder):
    """Many callers with requests of all sizes at once, some of them cancelled in the middle."""
    pool = texts(300)
    if embedder.backend_name == "numpy":  # the bits of BLAS depend on the batch
        check = lambda got, right: np.testing.assert_allclose(got, right, atol=1e-6)  # noqa: E731
    else:
        check = np.testing.assert_array_equal
    right = embedder.encode(pool)

    async def caller(served, seed):
        rng = np.random.default_rng(seed)
        for _ in range(12):
            chosen = rng.integers(0, len(pool), rng.choice([1, 1, 1, 3, 60]))
            task = asyncio.ensure_future(served.encode([pool[i] for i in chosen], truncation="ignore"))
            if rng.random() < 0.2:
                await asyncio.sleep(rng.random() * 0.002)
                task.cancel()
            try:
                got = await task
            except asyncio.CancelledError:
                continue
            check(got, right[chosen])

    async def main():
        async with AsyncEmbedder(embedder) as served:
            await asyncio.gather(*(caller(served, seed) for seed in range(20)))
            assert served.batcher.queue_tokens == served.batcher.queue_requests == 0
            assert served.batcher.is_alive()

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_gte_small_under_load(gte_small, dtype):
    embedder = Embedder(gte_small, dtype=dtype)
    if embedder.backend_name == "numpy":
        pytest.skip("the bits of BLAS depend on the batch")
    pool = gte_texts(60)
    right = {text: embedder.encode(text) for text in pool}

    async def main():
        async with AsyncEmbedder(embedder) as served:
            results = await asyncio.gather(*(served.encode(text) for text in pool), served.encode(pool))
        for text, got in zip(pool, results, strict=False):
            np.testing.assert_array_equal(got, right[text])
        np.testing.assert_array_equal(results[-1], np.stack([right[text] for text in pool]))

    asyncio.run(main())


def test_free_threads_take_equal_parts_of_what_waits(embedder):
    class Units:
        def __init__(self) -> None:
            self.tokens: list[int] = []

        def computed(self, texts: int, tokens: int) -> None:
            self.tokens.append(tokens)

        def waited(self, seconds: float) -> None:
            pass

    async def main():
        units = Units()
        work = _Work(embedder, units)
        loop = asyncio.get_running_loop()
        jobs = [Job([np.full(7, 5, np.int32)], False, loop.create_future()) for _ in range(12)]
        for job in jobs:  # before there is any thread
            work.put(job)
        work.start()
        await asyncio.gather(*(job.future for job in jobs))
        work.close()
        assert sum(units.tokens) == 84
        assert max(units.tokens) == 84 // (embedder.backend.threads or 1)

    asyncio.run(main())


def test_several_loops_may_share_one(embedder):
    served = AsyncEmbedder(embedder)
    right = embedder.encode(["a cat", "dog"])
    # How NumPy's BLAS sums a row may depend on how many rows there are; the engine's bits do not.
    tolerance = 1e-6 if embedder.backend.threads is None else 0
    assert_same = functools.partial(np.testing.assert_allclose, rtol=0, atol=tolerance)
    failures = []

    def use():
        async def main():
            for _ in range(20):
                assert_same(await served.encode(["a cat", "dog"]), right)

        try:
            asyncio.run(main())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    served.close()
    assert failures == []


def test_what_is_wrong_is_an_error_that_names_it(embedder):
    async def main():
        async with AsyncEmbedder(embedder) as served:
            for sentences, options, named in (
                (["a", 3], {}, "sentences[1]"),
                (["a"] * 20_000 + [3], {}, "sentences[20000]"),
                (b"a", {}, "bytes"),
                (["\ud800"], {}, "surrogate"),
                (["a"], {"prompt_name": "nothing"}, "nothing"),
                (["a"], {"truncation": "cut"}, "cut"),
                (["a"], {"truncate_dim": 1000}, "1000"),
                (["a"], {"output_value": "tensor"}, "tensor"),
                (["a"], {"precision": "int3"}, "int3"),
            ):
                with pytest.raises(InputError) as caught:
                    await served.encode(sentences, **options)
                assert named in str(caught.value)
            with pytest.raises(InputTooLongError):
                await served.encode("cat " * 100, truncation="error")
            with pytest.warns(TruncationWarning) as caught:
                await served.encode(["cat " * 100, "a"])
            assert caught[0].filename == __file__

    asyncio.run(main())


def test_an_exception_fails_the_request_whose_fault_it_is(tmp_path):
    """A model that overflows over one word: whoever says it gets the error, and nobody else."""
    config = tiny.config(hidden_size=64, num_attention_heads=2, intermediate_size=64)
    arrays = tiny.tensors(config)
    arrays["embeddings.word_embeddings.weight"][tiny.VOCABULARY.index("mat")] = np.float32(3e38)
    folder = tiny.write_model(tmp_path / "model", config)
    tiny.write_safetensors(folder / "model.safetensors", arrays)
    embedder = Embedder(folder)
    with pytest.raises(CheckpointError):
        embedder.encode("mat")
    right = embedder.encode("the cat")

    async def main():
        async with AsyncEmbedder(embedder) as served:
            for _ in range(10):
                results = await asyncio.gather(
                    *(
                        served.encode(
                            "mat" if i % 3 == 0 else ["cat"] * 30 + ["mat"] if i % 5 == 0 else "the cat"
                        )
                        for i in range(30)
                    ),
                    return_exceptions=True,
                )
                for i, result in enumerate(results):
                    if i % 3 == 0 or i % 5 == 0:
                        assert isinstance(result, CheckpointError)
                    else:
                        np.testing.assert_array_equal(result, right)
            assert served.batcher.is_alive()
            np.testing.assert_array_equal(await served.encode("the cat"), right)

    asyncio.run(main())


def test_too_much_is_refused_and_says_when_to_come_back(embedder):
    async def main():
        async with AsyncEmbedder(embedder, max_queue_tokens=2000) as served:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # Nothing waits: let it in, however long it is.
                long = asyncio.ensure_future(served.encode(["cat " * 40] * 2000))
                await asyncio.sleep(0)
                while not served.batcher.queue_tokens:
                    await asyncio.sleep(0.001)
                with pytest.raises(QueueFullError) as caught:
                    await served.encode("a cat")
                assert caught.value.retry_after >= 1
                assert "2000" in str(caught.value)
                assert len(await long) == 2000
                assert len(await served.encode(["a cat"])) == 1

    asyncio.run(main())


def test_who_has_waited_for_too_long_is_given_up(embedder, monkeypatch):
    compute = embedder.backend.last_hidden_states
    begun, free = threading.Event(), threading.Event()

    def held(*arguments, **options):
        begun.set()
        free.wait()
        return compute(*arguments, **options)

    monkeypatch.setattr(embedder.backend, "last_hidden_states", held)

    async def main():
        async with AsyncEmbedder(embedder, max_queue_seconds=1) as served:
            try:
                first = asyncio.ensure_future(served.encode("cat on the mat"))
                while not begun.is_set():
                    await asyncio.sleep(0.001)
                calls = (served.encode(["cat on the mat"] * 50) for _ in range(3))
                results = await asyncio.gather(*calls, return_exceptions=True)
            finally:
                free.set()
            assert [type(result) for result in results] == [QueueTimeoutError] * 3
            assert len(await first) == embedder.embedding_dimension
            assert served.batcher.queue_tokens == served.batcher.queue_requests == 0

    asyncio.run(main())


def test_long_texts_that_nobody_has_read_yet_count_as_waiting(embedder):
    """Two threads read them, and are kept busy here; so a flood of them would wait there without a bound."""
    long = "cat " * 400  # of which the model reads 32 tokens

    async def main():
        async with AsyncEmbedder(embedder, max_queue_tokens=100, max_queue_seconds=0.2) as served:
            free = threading.Event()
            for _ in range(2):
                served._tokenizing.submit(free.wait)
            try:
                calls = (served.encode(long, truncation="ignore") for _ in range(20))
                results = await asyncio.gather(*calls, return_exceptions=True)
            finally:
                free.set()
            assert [type(result) for result in results] == [QueueTimeoutError] * 3 + [QueueFullError] * 17
            assert len(await served.encode(long, truncation="ignore")) == embedder.embedding_dimension

    asyncio.run(main())


def test_a_model_that_pools_no_prompt_is_refused(tmp_path):
    folder = tiny.write_model(tmp_path)
    tiny.write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": "mean", "include_prompt": False})
    with pytest.raises(UnsupportedError, match=r"include_prompt is false.* use Embedder"):
        AsyncEmbedder(Embedder(folder, backend="numpy"))


def test_a_cancelled_call_gives_up_its_place(embedder):
    async def main():
        async with AsyncEmbedder(embedder) as served:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                long = asyncio.ensure_future(served.encode(["cat " * 40] * 3000))
                while not served.batcher.queue_tokens:
                    await asyncio.sleep(0.001)
                long.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await long
            assert served.batcher.queue_tokens == served.batcher.queue_requests == 0

    asyncio.run(main())


def test_a_short_call_overtakes_what_is_left_of_a_long_one(embedder):
    async def main():
        async with AsyncEmbedder(embedder) as served:
            await served.encode("a")
            long = asyncio.ensure_future(served.encode(["the cat sat on the mat"] * 4000))
            while not served.batcher.queue_tokens:
                await asyncio.sleep(0.001)
            await served.encode("a cat")
            assert not long.done()
            assert served.batcher.queue_tokens > 0
            await long

    asyncio.run(main())


def test_closed_it_refuses_and_what_waits_is_told(embedder):
    async def main():
        served = AsyncEmbedder(embedder)
        long = asyncio.ensure_future(served.encode(["the cat sat on the mat"] * 4000))
        while not served.batcher.queue_tokens:
            await asyncio.sleep(0.001)
        served.close()
        served.close()
        with pytest.raises(ClosedError):
            await long
        with pytest.raises(ClosedError):
            await served.encode("a")
        assert not served.batcher.is_alive()

    asyncio.run(main())


def test_dropped_it_leaves_no_thread(embedder):
    def mine():
        return [thread for thread in threading.enumerate() if thread.name.startswith("minigte ")]

    before = len(mine())

    async def main():
        served = AsyncEmbedder(embedder)
        await served.encode(["a cat " * 100, "dog"], truncation="ignore")
        assert len(mine()) > before

    asyncio.run(main())
    gc.collect()
    deadline = time.monotonic() + 60
    while len(mine()) > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(mine()) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_after_a_fork_and_at_the_interpreters_exit(folder):
    """A child has threads of its own; and a program may end while a call is under way."""
    program = f"""
import asyncio, os, numpy as np
from minigte import AsyncEmbedder, Embedder
embedder = Embedder({str(folder)!r}, threads=2)
served = AsyncEmbedder(embedder)
right = embedder.encode("a cat")
assert (asyncio.run(served.encode("a cat")) == right).all()
child = os.fork()
assert (asyncio.run(served.encode("a cat")) == right).all()
if child:
    assert os.waitpid(child, 0)[1] == 0
async def unfinished():
    asyncio.ensure_future(served.encode(["the cat sat on the mat"] * 3000))
    await asyncio.sleep(0.1)
asyncio.run(unfinished())
print("done")
"""
    process = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "done\ndone\n", "")


def test_it_is_there_by_name_and_imported_when_asked_for():
    assert "AsyncEmbedder" in minigte.__all__
    with pytest.raises(AttributeError, match="Nothing"):
        minigte.Nothing  # noqa: B018
    program = "import sys, minigte; print('asyncio' in sys.modules); minigte.AsyncEmbedder"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert process.stdout == "False\n"
