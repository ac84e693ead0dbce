"""The reference, operation by operation against float64, and what must hold however texts are batched."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exact
import numpy as np
import numpy.typing as npt
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from nasty import NASTY

from minigte import Embedder
from minigte.models.bert import spec
from minigte.models.weights import ABSENT
from minigte.reference import bert, ops, packed
from minigte.tokenizing.packing import pack
from minigte.vectors.pooling import POOLING_MODES, normalize, pool

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

EPS = 2.0**-23  # float32's relative step


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Float32:
    return np.float32(scale) * np.random.default_rng(seed).standard_normal(shape, np.float32)


def assert_within(got: Float32, want: Float64, bound: float | Float64) -> None:
    """|got - want| <= bound, elementwise, where want was computed in float64."""
    assert got.dtype == np.float32
    assert want.dtype == np.float64
    assert got.shape == want.shape
    excess = np.abs(got - want) - bound
    assert (excess <= 0).all(), f"beyond the bound by {np.nanmax(excess):.1e}"


# The operations, each against its formula


def test_embedding_takes_rows() -> None:
    table = random(7, 3)
    got = ops.embedding(np.array([6, 0, 6], np.int32), table)
    np.testing.assert_array_equal(got, np.stack([table[6], table[0], table[6]]))


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 1, 1), (5, 33, 7), (40, 384, 100)])
def test_linear(rows: int, inputs: int, outputs: int, with_bias: bool) -> None:
    """A sum of K products in float32 is off by sqrt(K) roundings of the sum of their magnitudes."""
    x, weight, bias = random(rows, inputs), random(outputs, inputs, seed=1), random(outputs, seed=2)
    want = x.astype(float) @ weight.T.astype(float) + with_bias * bias.astype(float)
    magnitude = np.abs(x) @ np.abs(weight.T).astype(float) + np.abs(bias)
    got = ops.linear(x, weight, bias if with_bias else ABSENT)
    assert_within(got, want, EPS * math.sqrt(inputs) * magnitude)


@pytest.mark.parametrize("eps", [1e-12, 1e-5, 0.1, 2.0])
@pytest.mark.parametrize("width", [1, 4, 20, 384])
def test_layer_norm(width: int, eps: float) -> None:
    x, weight, bias = random(9, width, scale=3) + 2, random(width, seed=1), random(width, seed=2)
    x64 = x.astype(float)
    deviation = x64 - x64.mean(axis=1, keepdims=True)
    want = deviation / np.sqrt((deviation**2).mean(axis=1, keepdims=True) + eps) * weight + bias
    assert_within(ops.layer_norm(x, weight, bias, eps), want.astype(float), 1e-5)


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-20, 1024.0])
@pytest.mark.parametrize("eps", [1e-12, 1e-5])
def test_layer_norm_of_a_constant_row_is_the_bias(value: float, eps: float) -> None:
    x, weight, bias = np.full((2, 16), value, np.float32), random(16), random(16, seed=1)
    np.testing.assert_array_equal(ops.layer_norm(x, weight, bias, eps), np.stack([bias, bias]))


def softmax64(scores: Float32) -> Float64:
    e = np.exp(scores.astype(float) - scores.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0, 1e4, 1e30])
def test_softmax(scale: float) -> None:
    scores = random(4, 6, 50, scale=scale)
    # The difference to the maximum is rounded once, and exp hands that on: |s| exp(s) <= 1/e for s < 0.
    assert_within(ops.softmax(scores), softmax64(scores), 4 * EPS)


def test_softmax_of_huge_and_of_equal_scores() -> None:
    largest = np.finfo(np.float32).max / 2
    scores = np.array([[largest, 0, -largest / 2], [largest, largest, 0], [-largest] * 3], np.float32)
    want = np.array([[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3], np.float32)
    np.testing.assert_array_equal(ops.softmax(scores), want)


@pytest.mark.parametrize("bias", [ABSENT, random(1, 3, 7, 7, seed=9), random(7, 7, seed=9)])
def test_attention(bias: Float32) -> None:
    query, key, value = (random(2, 3, 7, 5, seed=seed) for seed in range(3))  # R texts, H heads, T, K
    scores = ops.attention_scores(query, key, 0.3, bias)
    probs = ops.softmax(scores)
    context = np.matmul(probs, value)
    assert scores.shape == (2, 3, 7, 7)
    want = np.empty(query.shape)
    for r, h in np.ndindex(2, 3):
        for i in range(7):
            want_scores = 0.3 * (key[r, h].astype(float) @ query[r, h, i].astype(float))
            if bias.size:
                want_scores += np.broadcast_to(bias, (2, 3, 7, 7))[r, h, i]
            assert_within(scores[r, h, i], want_scores, 2e-6)
            weights = np.exp(want_scores) / np.exp(want_scores).sum()
            assert_within(probs[r, h, i], weights, 1e-6)
            want[r, h, i] = weights @ value[r, h]
    assert_within(context, want, 2e-6)


EVERYWHERE = np.concatenate(
    [np.linspace(-12, 12, 20_001), [0.0, -0.0, 1e-30, -1e-30, 100.0, -100.0, 1e12, -1e12]]
).astype(np.float32)


def in_float64(function: Callable[[float], float]) -> Float64:
    return np.array([function(x) for x in EVERYWHERE.tolist()])


def test_erf() -> None:
    """The formula's own error is 1.5e-7; float32's roundings of values up to 1.5 add three times that."""
    got = ops.erf(EVERYWHERE)
    assert_within(got, in_float64(math.erf), 1.5e-7 + 3 * EPS)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(EVERYWHERE))


def test_gelu_is_the_exact_one() -> None:
    want = in_float64(lambda x: x / 2 * (1 + math.erf(x / math.sqrt(2))))
    tanh = in_float64(lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
    bound = 1e-6 * np.maximum(1, np.abs(want))
    assert_within(ops.gelu(EVERYWHERE), want, bound)
    assert_within(ops.gelu_new(EVERYWHERE), tanh, bound)
    assert np.abs(want - tanh).max() > 100 * 1e-6, "the bound tells the two apart"


def test_relu() -> None:
    want = in_float64(lambda x: max(x, 0.0))
    assert_within(ops.relu(EVERYWHERE), want, 0)


def test_silu() -> None:
    want = in_float64(lambda x: x / (1 + math.exp(-x)) if x > -700 else 0.0)
    assert_within(ops.silu(EVERYWHERE), want, 3 * EPS * np.maximum(1, np.abs(want)))


def test_gelu_10() -> None:
    np.testing.assert_array_equal(ops.gelu_10(EVERYWHERE), np.minimum(ops.gelu(EVERYWHERE), np.float32(10)))
    assert ops.gelu_10(EVERYWHERE).max() == 10


def test_activations_do_not_change_their_input() -> None:
    for activation in ops.ACTIVATIONS.values():
        x = random(5, 5)
        x.flags.writeable = False
        assert not np.shares_memory(activation(x), x)


# out=


def test_out_receives_the_result_and_nothing_else_changes() -> None:
    x, weight, bias, square = random(6, 5), random(5, seed=1), random(5, seed=2), random(5, 5, seed=3)
    calls: list[Callable[..., Float32]] = [
        lambda **out: ops.linear(x, square, bias, **out),
        lambda **out: ops.layer_norm(x, weight, bias, 1e-5, **out),
        lambda **out: ops.softmax(x, **out),
    ]
    before = x.copy()
    for call in calls:
        want, out = call(), np.full((6, 5), np.nan, np.float32)
        assert call(out=out) is out
        np.testing.assert_array_equal(out, want)
        np.testing.assert_array_equal(x, before)


def test_out_may_be_the_input() -> None:
    x, weight, bias = random(6, 5), random(5, seed=1), random(5, seed=2)
    want = ops.layer_norm(x, weight, bias, 1e-5)
    np.testing.assert_array_equal(ops.layer_norm(y := x.copy(), weight, bias, 1e-5, out=y), want)
    want = ops.softmax(x)
    np.testing.assert_array_equal(ops.softmax(y := x.copy(), out=y), want)


# float32 in, float32 out, and nothing wider in between


class Float32Only(np.ndarray[Any, Any]):
    """An array that lets no float64 into any operation it takes part in, nor out of one."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        outputs = options.pop("out", ())
        check(*inputs, *outputs)
        if outputs:
            options["out"] = tuple(map(plain, outputs))
        result = getattr(ufunc, method)(*map(plain, inputs), **options)
        check(result)
        return outputs[0] if outputs else guarded(result)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        result = super().__array_function__(function, types, args, options)
        check(result)
        return guarded(result) if isinstance(result, np.ndarray) else result


def check(*values: Any) -> None:
    assert all(getattr(value, "dtype", None) != np.float64 for value in values), "float64"


def plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, np.ndarray) else value


def guarded(array: Any) -> Any:
    return np.asarray(array).view(Float32Only)


def test_the_guard_sees_float64() -> None:
    x = guarded(random(3))
    mistakes: list[Callable[[], Any]] = [
        lambda: x / np.sqrt(2.0),  # a NumPy scalar is float64 too, and widens
        lambda: x * np.ones(3),
        lambda: np.multiply(x, np.ones(3), out=x, casting="same_kind"),
        lambda: np.einsum("n,n->n", x, np.ones(3)),
        lambda: x.mean(dtype=float),
    ]
    for mistake in mistakes:
        with pytest.raises(AssertionError, match="float64"):
            mistake()


@pytest.mark.parametrize(
    "call",
    [
        lambda a: ops.embedding(np.array([1, 0]), a),
        lambda a: ops.linear(a, a, a[0]),
        lambda a: ops.layer_norm(a, a[0], a[1], 1e-12),
        lambda a: ops.softmax(a),
        lambda a: ops.attention_scores(a[None], a[None], 1 / math.sqrt(5), a),
        lambda a: ops.attention_scores(a[None], a[None], 1 / math.sqrt(5)),
        lambda a: ops.erf(a),
        *ops.ACTIVATIONS.values(),
        lambda a: normalize(a),
        *(lambda a, mode=mode: mode.vectors(a, np.array([0, 2, 5])) for mode in POOLING_MODES.values()),
    ],
)
def test_no_operation_creates_float64(call: Callable[[Any], Float32]) -> None:
    assert call(guarded(random(5, 5))).dtype == np.float32


@pytest.mark.parametrize("hidden_act", ops.ACTIVATIONS)
def test_no_float64_in_the_whole_pass(hidden_act: str) -> None:
    config = tiny.config(hidden_act=hidden_act)
    weights = tiny.weights(config)
    for holder in (weights, *weights.layers):
        for name, array in vars(holder).items():
            if isinstance(array, np.ndarray):
                object.__setattr__(holder, name, guarded(array))
    seen = {}
    hidden = bert.forward(
        config,
        weights,
        np.array([2, 7, 3, 2, 3], np.int32),
        np.array([0, 3, 5]),
        lambda name, array: seen.update({name: array.dtype}),
    )
    assert hidden.dtype == np.float32
    assert set(seen.values()) == {np.dtype(np.float32)}
    assert len(seen) == 5 + 14 * config.num_hidden_layers
    assert {a.dtype for a in vars(packed.Scratch.allocate(spec(config), 4)).values()} == {
        np.dtype(np.float32)
    }


# The pass, and how texts are put together for it


def test_a_pass_changes_no_weight() -> None:
    weights = tiny.weights()
    before = exact.tensors_sha256(exact.named(tiny.CONFIG, weights))
    bert.forward(tiny.CONFIG, weights, np.array([2, 7, 3]), np.array([0, 3]))
    assert exact.tensors_sha256(exact.named(tiny.CONFIG, weights)) == before


ids_of_a_text = st.lists(st.integers(0, len(tiny.VOCABULARY) - 1), min_size=1, max_size=12)


@given(texts=st.lists(ids_of_a_text, min_size=1, max_size=8))
def test_a_packed_text_has_the_hidden_states_it_has_alone(texts: list[list[int]]) -> None:
    weights = tiny.weights()
    [batch] = pack(texts, max_texts=8, max_tokens=1000)
    packed = bert.forward(tiny.CONFIG, weights, batch.input_ids, batch.offsets)
    for i, rows in zip(batch.index, np.split(packed, batch.offsets[1:-1]), strict=True):
        alone = bert.forward(tiny.CONFIG, weights, np.array(texts[i]), np.array([0, len(texts[i])]))
        assert exact.difference(rows, alone) <= 2e-6


@given(lengths=st.lists(st.integers(0, 9), max_size=30), max_tokens=st.integers(1, 40))
def test_equal_lengths(lengths: list[int], max_tokens: int) -> None:
    offsets = np.cumsum([0, *lengths])
    runs = list(packed.equal_lengths(offsets, 2, max_tokens))
    covered = [(run.keys.stop - run.keys.start) // run.texts for run in runs for _ in range(run.texts)]
    assert covered == [length for length in lengths if length], "every text once, in order, with its length"
    assert all(run.queries == run.keys for run in runs)
    places = [place for run in runs for place in (run.keys.start, run.keys.stop)]
    assert places == sorted(places)
    assert all(run.texts == 1 or run.keys.stop - run.keys.start <= max_tokens for run in runs)
    for run, following in itertools.pairwise(runs):
        length, rows = (run.keys.stop - run.keys.start) // run.texts, run.keys
        full = rows.stop - rows.start + length > max_tokens
        other = (following.keys.stop - following.keys.start) // following.texts != length
        assert other or full or 0 in lengths, f"the run that ends at {rows.stop} could go on"


@pytest.mark.parametrize("most", [1, 40, 130, 10_000])
def test_a_long_text_comes_in_parts(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory grows with its length then, and no number changes but by the order of sums."""
    monkeypatch.setattr(packed, "MAX_SCORES", most)
    config = tiny.config(max_position_embeddings=64)
    weights, ids = tiny.weights(config), np.arange(41) % config.vocab_size
    runs = list(packed.equal_lengths(np.array([0, 41]), 2))
    assert len(runs) == -(-41 // max(1, most // 82)) if most < 10_000 else len(runs) == 1
    distances = np.concatenate([run.distances for run in runs])
    np.testing.assert_array_equal(distances, np.arange(41) - np.arange(41)[:, None])
    got = exact.trace(config, weights, ids)
    monkeypatch.undo()
    exact.assert_stages_equal("a text in parts", got, exact.trace(config, weights, ids))


@given(
    lengths=st.lists(st.integers(1, 20), max_size=40),
    max_texts=st.integers(1, 10),
    max_tokens=st.integers(1, 60),
)
def test_pack(lengths: list[int], max_texts: int, max_tokens: int) -> None:
    texts = [[100 * i + t for t in range(length)] for i, length in enumerate(lengths)]
    batches = list(pack(texts, max_texts=max_texts, max_tokens=max_tokens))
    unpacked = {}
    for batch in batches:
        assert (batch.input_ids.dtype, batch.offsets.dtype) == (np.int32, np.int64)
        assert 1 <= len(batch.index) <= max_texts
        assert batch.num_tokens <= max_tokens or len(batch.index) == 1
        rows = np.split(batch.input_ids, batch.offsets[1:-1])
        for i, row in zip(batch.index.tolist(), rows, strict=True):
            assert i not in unpacked
            unpacked[i] = row.tolist()
    assert [unpacked[i] for i in range(len(texts))] == texts
    for batch, following in itertools.pairwise(batches):
        room = max_tokens - batch.num_tokens
        assert len(batch.index) == max_texts or following.offsets[1] > room, "as many texts as fit"
    order = [i for batch in batches for i in batch.index.tolist()]
    assert order == sorted(range(len(texts)), key=lambda i: -lengths[i]), "longest first, equal ones in order"


NAIVE: dict[str, Callable[[Float64], Float64]] = {
    "cls": lambda x: x[0],
    "lasttoken": lambda x: x[-1],
    "max": lambda x: np.array([max(column) for column in x.T]),
    "mean": lambda x: sum(x) / len(x),
    "mean_sqrt_len_tokens": lambda x: sum(x) / math.sqrt(len(x)),
    "weightedmean": lambda x: sum((t + 1) * row for t, row in enumerate(x)) / sum(range(1, len(x) + 1)),
}


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=10),
    modes=st.lists(st.sampled_from(sorted(POOLING_MODES)), min_size=1, max_size=3).map(tuple),
)
def test_pooling(lengths: list[int], modes: tuple[str, ...]) -> None:
    hidden, offsets = random(sum(lengths), 6, seed=len(lengths)), np.cumsum([0, *lengths])
    texts = [rows.astype(float) for rows in np.split(hidden, offsets[1:-1])]
    want = np.stack([np.concatenate([NAIVE[mode](rows) for mode in modes]) for rows in texts])
    assert_within(pool(hidden, offsets, modes), want, 2e-6 * np.maximum(1, np.abs(want)))


def test_pooling_of_many_tokens_keeps_its_precision() -> None:
    hidden = random(512, 384) + 1
    want = hidden.astype(float).mean(axis=0, keepdims=True)
    assert_within(pool(hidden, np.array([0, 512]), ("mean",)), want, 1e-6)


def test_normalize() -> None:
    x = random(4, 30, scale=5)
    x[2] = 0
    want = x.astype(float) / np.maximum(np.linalg.norm(x.astype(float), axis=1, keepdims=True), 1e-12)
    assert_within(normalize(x), want, 2 * EPS)


TEXTS = [*list(NASTY.values())[:40:2], "a", "a", "b"]


@pytest.fixture(scope="module")
def tiny_embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    folder: Path = tiny.write_model(tmp_path_factory.mktemp("model"))
    return Embedder(folder)


@pytest.mark.parametrize("model", ["tiny_embedder", "embedder"])
def test_order_and_batch_size_do_not_matter(request: pytest.FixtureRequest, model: str) -> None:
    embedder: Embedder = request.getfixturevalue(model)
    alone = np.stack([embedder.encode(text, truncation="ignore") for text in TEXTS])
    for batch_size in (3, 1000):
        order = np.random.default_rng(batch_size).permutation(len(TEXTS))
        shuffled = embedder.encode([TEXTS[i] for i in order], batch_size=batch_size, truncation="ignore")
        assert exact.difference(shuffled, alone[order]) <= exact.VECTOR_BOUND
