"""What docs/change-it.md does to a copy of the package: an activation, an architecture, its last table."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import changed
import exact
import numpy as np
import pytest
import servers
import tiny

from minigte import ConfigError, Embedder, InputError
from minigte.loading.config import read_config
from minigte.models import bert
from minigte.models.weights import Weights
from minigte.reference import ops
from minigte.reference.bert import forward
from minigte.tokenizing.tokenizer import Tokenizer

pytestmark = pytest.mark.slow

CONFIG = tiny.config(max_position_embeddings=34)

backends = pytest.mark.parametrize("backend", exact.COMPUTING_BACKENDS)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return changed.changed_package(tmp_path_factory.mktemp("changed"))


def reference(folder: Path, config: bert.Config, weights: Weights) -> exact.Float32:
    """What the package as it is computes for the same texts, one by one: (N, D)."""
    written = read_config(tiny.write_model(folder, CONFIG))
    tokenizer = Tokenizer(folder, written.tokenizer, vocab_size=CONFIG.vocab_size, max_seq_length=32)
    texts = tokenizer.tokenize(changed.TEXTS)
    ids = [np.array(text.input_ids) for text in texts]
    return np.concatenate([forward(config, weights, text, np.array([0, len(text)])) for text in ids])


@backends
def test_another_activation(tmp_path: Path, package: Path, backend: str) -> None:
    config = dataclasses.replace(CONFIG, hidden_act="quick_gelu")
    model = tiny.write_model(tmp_path / "model", config)
    with mock.patch.dict(ops.ACTIVATIONS, quick_gelu=lambda x: x / (1 + np.exp(-1.702 * x))):
        want = reference(tmp_path / "bert", config, tiny.weights(config))
    got = changed.encode(package, model, backend, tmp_path / "vectors.npy")
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    plain = reference(tmp_path / "plain", CONFIG, tiny.weights(CONFIG))
    assert abs(got - plain).max() > 1e-2  # GELU gives other numbers


@backends
def test_another_architecture(tmp_path: Path, package: Path, backend: str) -> None:
    """The page's is BERT under another prefix, which has to be refused where its embeddings are narrower."""
    width = CONFIG.hidden_size
    model = tiny.write_model(
        tmp_path / "model", CONFIG, model_type="electra", embedding_size=width, prefix="electra."
    )
    got = changed.encode(package, model, backend, tmp_path / "vectors.npy")
    want = reference(tmp_path / "bert", CONFIG, tiny.weights(CONFIG))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    narrower = tiny.write_model(tmp_path / "narrower", CONFIG, model_type="electra", embedding_size=8)
    with pytest.raises(AssertionError, match=f"embedding_size 8 is not hidden_size {width}"):
        changed.encode(package, narrower, backend, tmp_path / "vectors.npy")


# "Where other things go": each row of the table, done to a copy of the package.

Edit = Callable[[str, str, str], None]


@pytest.fixture
def package_copy(tmp_path: Path) -> Path:
    return changed.copied_package(tmp_path / "package")


@pytest.fixture
def edit(package_copy: Path) -> Edit:
    """Put ``after`` in the place of ``before`` in a file of the copy."""

    def edit(file: str, before: str, after: str) -> None:
        path = package_copy / "minigte" / file
        source = path.read_text(encoding="utf-8")
        assert source.count(before) == 1, f"{file} is no longer as the table of {changed.PAGE.name} says"
        path.write_text(source.replace(before, after), encoding="utf-8")

    return edit


def test_another_way_to_pool(tmp_path: Path, package_copy: Path, edit: Edit) -> None:
    """The least value of each component, in ``encode`` and in ``explain``."""
    model = tiny.write_model(tmp_path / "model")
    tiny.write_sentence_transformers(model, modes=["min"], normalize=False)
    with pytest.raises(ConfigError, match="unknown pooling mode 'min'"):
        Embedder(model)
    mode = """
    "min": PoolingMode(
        lambda hidden, offsets: np.minimum.reduceat(hidden, offsets[:-1], axis=0),
        lambda hidden: np.where(np.arange(len(hidden))[:, None] == hidden.argmin(axis=0), hidden, 0),
    ),
"""
    edit("vectors/pooling.py", "POOLING_MODES = {\n", f"POOLING_MODES = {{{mode}")
    code = """
import sys
import numpy as np
from minigte import Embedder
embedder = Embedder(sys.argv[1], backend="numpy")
texts = ["the cat sat", "a dog"]
vectors = embedder.encode(texts)
tokens = embedder.encode(texts, output_value="token_embeddings")
assert np.array_equal(vectors, [rows.min(axis=0) for rows in tokens])
trace = embedder.explain(texts[0])
assert np.array_equal(trace.vector, embedder.encode(texts[0]))  # alone too: BLAS's bits depend on the batch
np.testing.assert_allclose(trace.contributions.sum(axis=0), vectors[0], rtol=0, atol=1e-6)
similarity = embedder.explain_similarity(*texts)
np.testing.assert_allclose(similarity.pairs.sum(), similarity.score, rtol=0, atol=1e-6)
"""
    changed.run(package_copy, code, str(model))


def test_another_similarity(tmp_path: Path, package_copy: Path, edit: Edit) -> None:
    """The largest difference, less; before it is there its name is an error wherever one can be given."""
    model = tiny.write_model(tmp_path / "model")
    plain = Embedder(model, backend="numpy")
    vectors = plain.encode(["the cat sat", "a dog"])
    for refused in (
        lambda: Embedder(model, backend="numpy", similarity_fn_name="chebyshev"),
        lambda: setattr(plain, "similarity_fn_name", "chebyshev"),
    ):
        with pytest.raises(InputError, match="unknown similarity_fn_name 'chebyshev'"):
            refused()
    tiny.write_json(
        model / "config_sentence_transformers.json", {"similarity_fn_name": "chebyshev", "prompts": {}}
    )
    with pytest.raises(ConfigError, match="unknown similarity_fn_name 'chebyshev'"):
        Embedder(model)
    functions = """
    "chebyshev": Similarity(
        lambda a, b: -np.abs(as_rows(a)[:, None] - as_rows(b)).max(axis=-1).astype(np.float32),
        lambda a, b: -np.abs(as_rows(a) - as_rows(b)).max(axis=-1).astype(np.float32),
    ),
"""
    edit("vectors/similarity.py", "SIMILARITY_FUNCTIONS = {\n", f"SIMILARITY_FUNCTIONS = {{{functions}")
    code = """
import json, sys
import numpy as np
from minigte import Embedder, InputError
embedder = Embedder(sys.argv[1], backend="numpy")
vectors = embedder.encode(["the cat sat", "a dog"])
assert embedder.similarity_fn_name == "chebyshev"
pairwise = embedder.similarity_pairwise(vectors[:1], vectors[1:])
[[hit]] = embedder.semantic_search("the cat sat", ["a dog"], top_k=1)
assert embedder.similarity(vectors, vectors)[0, 1] == pairwise[0] == np.float32(hit["score"])
try:
    embedder.explain_similarity("the cat sat", "a dog")
except InputError as error:
    assert "'chebyshev' is not a sum over pairs of tokens" in str(error)
else:
    raise AssertionError("explained")
print(pairwise[0])
"""
    printed = changed.run(package_copy, code, str(model))
    assert float(printed) == -abs(vectors[0] - vectors[1]).max()


def test_another_weight_format_and_known_model(tmp_path: Path, package_copy: Path, edit: Edit) -> None:
    """NumPy's own archives, of a folder and of a model that is fetched by a name of the manifest."""
    model = tiny.write_model(tmp_path / "model")
    want = Embedder(model, backend="numpy").encode(changed.TEXTS)
    (model / "model.safetensors").unlink()
    np.savez(model / "model.npz", **tiny.tensors())
    reader = '''
"""NumPy's archives of arrays."""

import numpy as np

from minigte.loading.stored_tensors import StoredTensor


def read_npz(path):
    """Each array's name, shape, and what gives it."""
    with np.load(path, allow_pickle=False) as file:
        for name in file.files:
            array = file[name]
            yield StoredTensor(name, array.shape, lambda array=array: array)
'''
    (package_copy / "minigte" / "loading" / "npz_files.py").write_text(reader, encoding="utf-8")
    edit("loading/weights.py", "*ONNX)", '*ONNX, "model.npz")')
    call = (
        '    if path.suffix == ".npz":\n        from minigte.loading.npz_files import read_npz\n\n'
        "        return read_npz(path)\n"
    )
    suffix = '    if path.suffix == ".onnx":\n'
    edit("loading/weights.py", suffix, call + suffix)
    edit("loading/sources.py", 'HUB_PATTERNS = ["*.json",', 'HUB_PATTERNS = ["*.json", "*.npz",')
    hashes = {
        path.relative_to(model).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in model.rglob("*")
        if path.is_file()
    }
    for name, files in (("tiny", hashes), ("spoiled", {**hashes, "model.npz": "0" * 64})):
        row = f'    KnownModel("someone/{name}", {servers.COMMIT!r}, "MIT", 32, {json.dumps(files)}),\n'
        edit("loading/known_models.py", "KNOWN_MODELS = (\n", f"KNOWN_MODELS = (\n{row}")
    code = f"""
import sys
import numpy as np
from minigte import DownloadError, Embedder
texts = {changed.TEXTS}
vectors = [Embedder(name, backend="numpy").encode(texts) for name in (sys.argv[1], "tiny")]
assert np.array_equal(*vectors)
np.save(sys.argv[2], vectors[0])
"""
    refused = """
from minigte import DownloadError, Embedder
try:
    Embedder("spoiled")
except DownloadError as error:
    assert "model.npz" in str(error), error
else:
    raise AssertionError("taken")
"""
    output = tmp_path / "vectors.npy"
    for name, script in (("tiny", code), ("spoiled", refused)):
        with servers.Hub(f"someone/{name}", model).running() as hub:
            environment = {
                "HF_ENDPOINT": hub.url,
                "HF_HOME": str(tmp_path / "hub"),
                "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            }
            changed.run(package_copy, script, str(model), str(output), **environment)
    np.testing.assert_array_equal(np.load(output), want)
