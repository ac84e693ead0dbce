"""What programs written for sentence-transformers call, run there and here: the table of a page.

docs/from-sentence-transformers.md holds the table that this file makes. To write it again after a change:

    .venv-torch/bin/python tests/parity/test_from_sentence_transformers.py
"""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # when it runs as a script

import exact  # noqa: E402
import sentence_transformers  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
from sentence_transformers import SentenceTransformer, util  # noqa: E402

import minigte  # noqa: E402
from minigte import CrossEncoder, Embedder, MinigteError  # noqa: E402

PAGE = ROOT / "docs" / "from-sentence-transformers.md"
BEGIN = f"<!-- the table: written by {Path(__file__).name} -->"
END = "<!-- end of the table -->"


class Call(NamedTuple):
    """Some lines of a program; the last is an expression, and what it gives is compared."""

    code: str
    note: str = ""  # what is otherwise here, where it is neither the same nor refused


# ``Model``: the class; ``model``: one of them; ``util``: the module of functions; ``texts``: three of them;
# ``vectors``: theirs, and ``turned``: the same in another order. ``CrossEncoder``: that class, ``cross``: one
# of them, ``cross_folder``: its folder; ``pairs``: of the texts.
CALLS = {
    "Loading": [
        Call("Model(folder).encode(texts)"),
        Call("Model(model_name_or_path=folder).encode(texts)"),
        Call('Model(folder, device="cpu").encode(texts)'),
        Call("Model(folder, device=torch.device('cpu')).encode(texts)"),
        Call('Model(folder, device="cuda")'),
        Call("Model(folder, trust_remote_code=True).encode(texts)"),
        Call(
            "Model(folder, token=None, revision=None, cache_folder=None, local_files_only=True).encode(texts)"
        ),
        Call("Model(folder, model_kwargs={}, tokenizer_kwargs={}, config_kwargs={}).encode(texts)"),
        Call('Model(folder, model_kwargs={"torch_dtype": torch.float32}).encode(texts)'),
        Call(
            'Model(folder, model_kwargs={"dtype": "float32", "attn_implementation": "eager"}).encode(texts)'
        ),
        Call('Model(folder, model_kwargs={"dtype": torch.bfloat16}).encode(texts)'),
        Call('Model(folder, processor_kwargs={"model_max_length": 8}).encode(texts)'),
        Call('Model(folder, config_kwargs={"num_hidden_layers": 1}).encode(texts)'),
        Call('Model(folder, backend="torch").encode(texts)'),
        Call('Model(folder, backend="onnx")'),
        Call('Model(folder, prompts={"mine": "the "}, default_prompt_name="mine").encode(texts)'),
        Call(
            'Model(folder, prompts={"query": None}).prompts',
            "an empty text in place of None: nothing is put in front either way",
        ),
        Call('Model(folder, default_prompt_name="none")'),
        Call('Model(folder, similarity_fn_name="dot").similarity_fn_name'),
        Call("Model(folder, truncate_dim=8).encode(texts)"),
        Call("Model(folder, truncate_dim=99).encode(texts)"),
        Call("Model(folder, use_auth_token=None).encode(texts)"),
        Call("Model(modules=[])"),
        Call('Model("./nowhere")'),
    ],
    "Encoding": [
        Call("model.encode(texts)"),
        Call("model.encode(texts[0])"),
        Call("model.encode(sentences=texts)"),
        Call("model.encode(inputs=texts)"),
        Call("model.encode(inputs=texts[0])"),
        Call("model.encode(texts, batch_size=2, show_progress_bar=False)"),
        Call("model.encode(texts, batch_size=0)"),
        Call("model.encode(texts, convert_to_numpy=True)"),
        Call("model.encode(texts, convert_to_numpy=False)"),
        Call("model.encode(texts, convert_to_tensor=False)"),
        Call("model.encode(texts, convert_to_tensor=True)"),
        Call("model.encode(texts, None, None, 2, False)"),
        Call("model.encode(texts, None, None, 2, False, 'sentence_embedding', 'float32', True)"),
        Call("model.encode(texts, device='cpu')"),
        Call("model.encode(texts, device='cuda')"),
        Call("model.encode(texts, normalize_embeddings=True)"),
        Call("model.encode(texts, truncate_dim=8)"),
        Call("model.encode(texts, truncate_dim=8, normalize_embeddings=True)"),
        Call("model.encode(texts, pool=None, chunk_size=None)"),
        Call("model.encode(texts, task='query')"),
        Call("model.encode(texts, normalise=True)"),
        Call("model.encode(texts, processing_kwargs={'text': {'max_length': 4, 'truncation': True}})"),
        Call("model.encode(texts, precision=None)"),
        Call("model.encode(texts, precision='float32')"),
        Call("model.encode(texts, precision='binary')"),
        Call("model.encode(texts, precision='ubinary')"),
        Call("model.encode(texts, precision='int8').shape"),
        Call("model.encode(texts[0], precision='ubinary')"),
        Call("model.encode(texts[0], precision='int8')"),
        Call("model.encode(texts, precision='float16')"),
        Call("model.encode(texts, output_value='token_embeddings')"),
        Call("model.encode(texts[0], output_value='token_embeddings')"),
        Call("model.encode(texts[0], output_value=None)['sentence_embedding']"),
        Call("model.encode(texts[0], output_value=None)['token_embeddings']"),
        Call("[each['input_ids'] for each in model.encode(texts[:1], output_value=None)]"),
        Call("sorted(model.encode(texts[0], output_value=None))", "without `modality` and `prompt_length`"),
        Call("model.encode([])", "shape (0, D), so that results stack; there (0,)"),
        Call("model.encode([], output_value='token_embeddings')"),
        Call("model.encode(['a cat. ' * 30])", "the same, and a TruncationWarning"),
    ],
    "Texts": [
        Call("model.encode(tuple(texts))"),
        Call("model.encode(np.array(texts))"),
        Call("model.encode(np.array(texts, object))"),
        Call("model.encode(iter(texts))", "the same as of the list"),
        Call("model.encode(pandas.Series(texts))", "the same as of the list"),
        Call("model.encode(polars.Series(texts))", "the same as of the list"),
        Call("model.encode(pyarrow.array(texts))", "the same as of the list"),
        Call("model.encode(datasets.Dataset.from_dict({'text': texts})['text'])"),
        Call("model.encode(dict.fromkeys(texts).keys())", "the same as of the list"),
        Call("model.encode(set(texts))"),
        Call("model.encode([texts[0], None])"),
        Call("model.encode([('a pair', 'of texts')])"),
        Call("model.encode(b'bytes')"),
        Call("model.encode({'text': 'a cat'})"),
    ],
    "Prompts": [
        Call("model.encode_query(texts)"),
        Call("model.encode_document(texts)"),
        Call("model.encode(texts, prompt_name='query')"),
        Call("model.encode(texts, 'query')"),
        Call("model.encode(texts, prompt='the ')"),
        Call("model.encode(texts, prompt='the ', prompt_name='query')"),
        Call("model.encode(texts, prompt_name='none')"),
        Call("model.encode_query(texts, prompt='')"),
        Call("model.encode_query(inputs=texts, batch_size=2, convert_to_numpy=True)"),
        Call("model.encode_query(texts[0], normalize_embeddings=True)"),
        Call("model.prompts"),
        Call("model.prompts = {'query': 'a '}; model.encode_query(texts)"),
        Call("model.prompts['query'] = 'dog '; model.encode_query(texts)"),
        Call("model.prompts = {'passage': 'the '}; model.encode_document(texts)"),
        Call("model.prompts = {'corpus': 'the '}; model.encode_document(texts)"),
        Call("model.default_prompt_name"),
        Call("model.default_prompt_name = 'query'; model.encode(texts)"),
        Call("model.default_prompt_name = 'query'; model.encode_document(texts)"),
    ],
    "Settings": [
        Call("model.max_seq_length"),
        Call("model.get_max_seq_length()"),
        Call("model.max_seq_length = 5; model.encode(texts)"),
        Call("model.truncate_dim = 8; model.encode(texts)"),
        Call("model.truncate_dim = 8; model.get_embedding_dimension()"),
        Call("model.truncate_dim = None; model.encode(texts)"),
        Call("model.similarity_fn_name"),
        Call("model.similarity_fn_name = 'dot'; model.similarity(vectors, vectors)"),
        Call("model.similarity_fn_name = util.SimilarityFunction.EUCLIDEAN; model.similarity_fn_name"),
        Call("model.similarity_fn_name = 'manhattan'; model.similarity_pairwise(vectors, turned)"),
        Call("model.similarity_fn_name = 'cos'"),
        Call("model.similarity_fn_name = None"),
        Call("model.tokenizer.truncation_side = 'left'"),
        Call("model.tokenizer.model_max_length = 5"),
        Call("model.set_pooling_include_prompt(False)"),
        Call("with model.truncate_embeddings(8): short = model.encode(texts)\nshort"),
        Call(
            "util.SimilarityFunction.possible_values()[:4]",
            "the same; there are two more there, for models of several vectors a text",
        ),
        Call("util.SimilarityFunction.to_similarity_fn('dot')(vectors, vectors)"),
        Call("util.SimilarityFunction.to_similarity_pairwise_fn('dot')(vectors, turned)"),
    ],
    "Getters and moves": [
        Call("model.get_embedding_dimension()"),
        Call("model.get_sentence_embedding_dimension()"),
        Call("str(model.device)"),
        Call("model.to('cpu').encode(texts)"),
        Call("model.to('cuda')"),
        Call("model.eval().encode(texts)"),
        Call("model.half()"),
        Call("model.cuda()"),
        Call("model.compile()"),
        Call("model[0]"),
        Call("model.modules()"),
        Call("model.fit([])"),
        Call("model.save('somewhere')"),
        Call(
            "pool = model.start_multi_process_pool(['cpu']); result = model.encode(texts, pool=pool); "
            "model.stop_multi_process_pool(pool); result"
        ),
        Call(
            "pool = model.start_multi_process_pool(['cpu']); "
            "result = model.encode_multi_process(texts, pool); model.stop_multi_process_pool(pool); result"
        ),
        Call("model.start_multi_process_pool(['cuda:0'])"),
    ],
    "Tokens": [
        Call("model.tokenize([texts[0]])['input_ids']", "lists, one a text, without padding"),
        Call("model.preprocess([texts[0]])['input_ids']"),
        Call("model.tokenizer(texts[0])['input_ids']", "not here: `tokenize`, `count_tokens`"),
    ],
    "Similarity and search": [
        Call("model.similarity(vectors, vectors)"),
        Call("model.similarity(vectors[0], vectors)"),
        Call("model.similarity(vectors.tolist(), vectors)"),
        Call("model.similarity_pairwise(vectors, turned)"),
        Call("model.similarity(vectors, vectors[:, :3])"),
        *(
            Call(f"util.{name}(vectors, turned)")
            for kind in ("cos_sim", "dot_score", "euclidean_sim", "manhattan_sim")
            for name in (kind, f"pairwise_{kind}")
        ),
        Call("util.semantic_search(vectors, vectors, top_k=2)"),
        Call("util.semantic_search(vectors[0], vectors, top_k=2)"),
        Call("util.semantic_search(vectors, vectors, top_k=2, score_function=util.dot_score)"),
        Call("util.semantic_search(vectors, vectors, query_chunk_size=1, corpus_chunk_size=2, top_k=2)"),
        Call(
            "util.semantic_search(vectors, np.concatenate([vectors, vectors]), top_k=1)",
            "of equal scores the lower `corpus_id`; there any",
        ),
        Call("util.paraphrase_mining(model, texts)"),
        Call("util.paraphrase_mining(model, texts, top_k=1, max_pairs=2)"),
        Call("util.paraphrase_mining_embeddings(vectors, query_chunk_size=2, corpus_chunk_size=3)"),
        Call("util.community_detection(vectors, threshold=0.9, min_community_size=2)"),
        Call("util.community_detection(vectors)"),
    ],
    "Fewer bits": [
        *(
            Call(f"util.quantize_embeddings({argument}, precision={precision!r})")
            for argument in ("vectors", "list(vectors)")
            for precision in ("float32", "int8", "uint8", "binary", "ubinary")
        ),
        Call("util.quantize_embeddings(vectors.astype(np.float64), precision='int8')"),
        Call(
            "util.quantize_embeddings(vectors, precision='int8', "
            "ranges=np.stack([vectors.min(axis=0), vectors.max(axis=0)]))"
        ),
        Call("util.quantize_embeddings(vectors[0], precision='uint8', calibration_embeddings=vectors)"),
        Call("util.quantize_embeddings([vectors, vectors[:2]], precision='int8')"),
        Call("util.quantize_embeddings([], precision='int8')"),
        Call("util.quantize_embeddings(vectors[:1], precision='int8')"),
        Call("util.quantize_embeddings(vectors.astype(np.int8), precision='binary')"),
        Call("util.quantize_embeddings(vectors, precision='float16')"),
    ],
    "Cross-encoders": [
        Call("cross.predict(pairs)"),
        Call("cross.predict(pairs[0])"),
        Call("cross.predict([])", "of float32, as other scores; there of float64"),
        Call("cross.predict(inputs=pairs, batch_size=2, show_progress_bar=False)"),
        Call("cross.predict(sentences=pairs)"),
        Call("cross.predict(pairs, None, None, 2, False, torch.nn.Identity())"),
        Call("cross.predict(pairs, activation_fn=torch.nn.Tanh())"),
        Call("cross.predict(pairs, activation_fct=torch.nn.Identity(), num_workers=0)"),
        Call("cross.predict(pairs, activation_fn=torch.nn.LeakyReLU(0.2))"),
        Call("cross.predict(pairs, apply_softmax=True)"),
        Call("cross.predict(pairs, convert_to_tensor=True)"),
        Call("cross.predict(pairs, device='cuda')"),
        Call("cross.predict(pairs, prompt_name=None, prompt=None)"),
        Call("cross.predict(pairs, prompt='the ')"),
        Call("cross.predict(pairs, pool=None, chunk_size=None)"),
        Call("cross.predict(texts)"),
        Call("cross.predict([(texts[0], None)])"),
        Call("cross.rank(texts[0], texts)"),
        Call("cross.rank(texts[0], texts, top_k=1, return_documents=True)"),
        Call("cross.rank(texts[0], texts, 2, True, None, None, 2)"),
        Call("cross.rank(texts[0], texts, apply_softmax=True, convert_to_tensor=True, num_workers=0)"),
        Call("cross.rank(texts[0], [])"),
        Call("CrossEncoder(cross_folder, max_length=8).predict(pairs)"),
        Call("CrossEncoder(cross_folder, 1)"),
        Call("CrossEncoder(cross_folder, activation_fn=torch.nn.Identity()).predict(pairs)"),
        Call("CrossEncoder(cross_folder, default_activation_function=torch.nn.Identity()).predict(pairs)"),
        Call("CrossEncoder(model_name=cross_folder, automodel_args={}, tokenizer_args={}).predict(pairs)"),
        Call("CrossEncoder(cross_folder, device='cpu', trust_remote_code=True).predict(pairs)"),
        Call("CrossEncoder(cross_folder, prompts=None, keep_in_fp32_modules=None).predict(pairs)"),
        Call("CrossEncoder(cross_folder, prompts={'query': 'the '}, default_prompt_name='query')"),
        Call("cross.num_labels"),
        Call("cross.max_seq_length = 8; cross.predict(pairs)"),
        Call("cross.max_length = 8; cross.max_seq_length"),
        Call("cross.activation_fn = torch.nn.Identity(); cross.predict(pairs)"),
        Call("cross.to('cpu').eval().predict(pairs)"),
        Call("str(cross.device)"),
        Call("cross.half()"),
        Call("cross.fit([])"),
        Call("cross.save('somewhere')"),
        Call("cross.model"),
        Call("copy.deepcopy(cross).predict(pairs)"),
        Call("pickle.loads(pickle.dumps(cross)).predict(pairs)"),
    ],
    "Copies": [
        Call("copy.deepcopy(model).encode(texts)"),
        Call("copy.copy(model).encode(texts)"),
        Call("pickle.loads(pickle.dumps(model)).encode(texts)"),
        Call("model.note = 'mine'; copy.deepcopy(model).note"),
        Call("model.max_seq_length = 5; copy.deepcopy(model).encode(texts)"),
    ],
}

TEXTS = ["the cat sat on the mat", "a dog", "running dogs, running cats: 42!"]
IMPORTS = ("copy", "datasets", "pandas", "pickle", "polars", "pyarrow")


class Outcome(NamedTuple):
    """What a call gave, or the error it raised."""

    value: Any
    error: Exception | None


def run(code: str, names: dict[str, Any]) -> Outcome:
    """Run the lines; the value is that of the last, where it is an expression."""
    lines = ast.parse(code).body
    last = lines.pop() if isinstance(lines[-1], ast.Expr) else None
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            exec(compile(ast.Module(lines, []), code, "exec"), names)
            value = None if last is None else eval(compile(ast.Expression(last.value), code, "eval"), names)
    except NameError:  # of this file, not of a call
        raise
    except Exception as error:
        return Outcome(None, error)
    return Outcome(value, None)


def as_numpy(value: Any) -> Any:
    """Tensors as arrays, also those inside."""
    if isinstance(value, torch.Tensor):
        return value.numpy()
    if isinstance(value, (list, tuple)):
        return [as_numpy(each) for each in value]
    if isinstance(value, dict):
        return {name: as_numpy(each) for name, each in value.items()}
    return value


def is_same(got: Any, want: Any) -> bool:
    """Equal, arrays and numbers within the bound on vectors."""
    if isinstance(want, np.ndarray) or isinstance(got, np.ndarray):
        got, want = np.asarray(got), np.asarray(want)
        if got.shape != want.shape or got.dtype != want.dtype:
            return False
        return bool(
            np.abs(got.astype(float) - want).max(initial=0) <= exact.VECTOR_BOUND * max(1, np.abs(want).max())
        )
    if isinstance(want, float):
        return isinstance(got, float) and abs(got - want) <= exact.VECTOR_BOUND * max(1, abs(want))
    if isinstance(want, list) and isinstance(got, list):
        return len(got) == len(want) and all(map(is_same, got, want))
    if isinstance(want, dict) and isinstance(got, dict):
        return got.keys() == want.keys() and all(is_same(got[name], want[name]) for name in want)
    return bool(got == want)


def has_tensors(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(has_tensors, value))
    return isinstance(value, torch.Tensor)


def here(call: Call, there: Outcome, got: Outcome) -> str:
    """The table's word for what a call does here; "" for a silent difference that no note describes."""
    if got.error is not None:
        if call.note:
            return call.note
        refused = isinstance(got.error, MinigteError) or not isinstance(got.error, AttributeError)
        message = re.sub(r"/\S*?/(?=[\w.]+)", "", str(got.error)).replace("|", "\\|")
        also = "an error there too" if there.error is not None else "refused" if refused else "not here"
        return f"{also}: {message}"
    if there.error is not None:
        return call.note and f"{call.note}; an error there"
    if call.note:
        return call.note
    if not is_same(as_numpy(got.value), as_numpy(there.value)):
        return ""
    return "the same, in NumPy arrays" if has_tensors(there.value) else "the same"


def compared() -> dict[str, list[tuple[Call, str]]]:
    """Every call, run on the same folder by both."""
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            tiny.write_sentence_transformers(
                tiny.write_model(folder, seed=5),
                normalize=False,
                prompts={"query": "query: ", "document": ""},
            )
            common = {name: __import__(name) for name in IMPORTS} | {"np": np, "torch": torch, "texts": TEXTS}
            cross_folder = str(tiny.write_cross_encoder(Path(temporary) / "cross"))
            both = (
                (SentenceTransformer, sentence_transformers.CrossEncoder, util, {"device": "cpu"}),
                (Embedder, CrossEncoder, minigte, {}),
            )
            vectors = Embedder(folder).encode(TEXTS)
            result = {}
            for group, calls in CALLS.items():
                result[group] = []
                for call in calls:
                    outcomes = []
                    for model, cross_encoder, module, options in both:
                        made = model(str(folder), **options) if "model" in call.code else None
                        has_cross = "cross." in call.code or "(cross)" in call.code
                        names = {
                            "Model": model,
                            "CrossEncoder": cross_encoder,
                            "cross": cross_encoder(cross_folder, **options) if has_cross else None,
                            "cross_folder": cross_folder,
                            "pairs": [[a, b] for a in TEXTS for b in TEXTS],
                            "util": module,
                            "folder": str(folder),
                            "vectors": vectors.copy(),
                            "turned": vectors[::-1].copy(),
                        }
                        outcomes.append(run(call.code, {**common, **names, "model": made}))
                    result[group].append((call, here(call, *outcomes)))
            return result
    finally:
        logging.disable(logging.NOTSET)


def table(result: dict[str, list[tuple[Call, str]]]) -> str:
    """The page's part that this file writes."""
    words = [word for rows in result.values() for _, word in rows]
    same = sum(word.startswith("the same") for word in words)
    errors = sum(word.startswith("an error there too") for word in words)
    lines = [
        BEGIN,
        "",
        f"Of {len(words)} calls {same} give the same here, and {errors} are errors in both.",
        "",
    ]
    for group, rows in result.items():
        lines += [f"### {group}", "", "| there | here |", "|---|---|"]
        for call, word in rows:
            code = call.code.replace("|", "\\|").replace("\n", "; ")
            lines.append(f"| `{code}` | {word} |")
        lines.append("")
    return "\n".join([*lines, END])


def test_the_table_is_what_both_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some calls save a model
    result = compared()
    silent = [call.code for rows in result.values() for call, word in rows if not word]
    assert silent == [], "these differ, and neither an error nor a note says so"
    page = PAGE.read_text(encoding="utf-8")
    shown = page[page.index(BEGIN) : page.index(END) + len(END)]
    assert shown == table(result), f"write it again: python {Path(__file__).relative_to(ROOT)}"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(before + table(compared()) + after, encoding="utf-8")
