"""The programs that are compared, each behind the same two steps.

``peer.load(files, threads, setting)`` gives ``encode(texts, batch_size)``, which gives the L2-normalised
vectors, (B, D) float32, in the order of the texts. Every peer cuts at 512 tokens, is given texts sorted by
length where it does not sort by itself, and is set up as its own documentation advises; where that leaves a
choice, ``settings`` lists what is tried, and the fastest is used for each workload.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import texts

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Encode = Callable[[list[str], int], Float32]


@dataclass(frozen=True)
class Files:
    """Where a peer's model is."""

    model_dir: Path  # the Hugging Face folder
    onnx: Path  # the ONNX export
    converted: dict[str, Path]  # kind of convert.KINDS -> folder


@dataclass(frozen=True)
class Peer:
    """One program at one precision."""

    name: str
    precision: str
    load: Callable[[Files, int, str], Encode]
    distributions: tuple[str, ...]  # what one installs to run it; their dependencies are found from there
    settings: tuple[str, ...] = ("default",)
    batches: bool = True  # does it take a batch size?
    converted: tuple[str, ...] = ()  # what convert.py has to make first
    quick: bool = False  # takes part in --quick

    @property
    def key(self) -> str:
        """The name that --only and the results use."""
        return f"{self.name} {self.precision}"


def minigte(dtype: str, backend: str) -> Callable[[Files, int, str], Encode]:
    """This project; it sorts and packs by itself."""

    def load(files: Files, threads: int, setting: str) -> Encode:
        from minigte import Embedder

        embedder = Embedder(str(files.model_dir), dtype=dtype, backend=backend, threads=threads)

        def encode(sentences: list[str], batch_size: int) -> Float32:
            return embedder.encode(
                sentences, batch_size=batch_size, normalize_embeddings=True, truncation="ignore"
            )

        return encode

    return load


def sentence_transformers(dtype: str | None) -> Callable[[Files, int, str], Encode]:
    """sentence-transformers on PyTorch; ``None`` takes the checkpoint's own dtype, as it does by default."""

    def load(files: Files, threads: int, setting: str) -> Encode:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        options = {} if dtype is None else {"dtype": getattr(torch, dtype)}
        model = SentenceTransformer(str(files.model_dir), device="cpu", model_kwargs=options)

        def encode(sentences: list[str], batch_size: int) -> Float32:
            # numpy has no bfloat16, and sentence-transformers hands those vectors over as float32
            vectors = model.encode(sentences, batch_size=batch_size, normalize_embeddings=True)
            return vectors.astype(np.float32, copy=False)

        return encode

    return load


def onnxruntime(graphs: dict[str, str]) -> Callable[[Files, int, str], Encode]:
    """ONNX Runtime; ``graphs`` says which converted graph a setting runs ("" is the export itself)."""

    def load(files: Files, threads: int, setting: str) -> Encode:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        kind = graphs[setting]
        path = files.converted[kind] / "model.onnx" if kind else files.onnx
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [node.name for node in session.get_inputs()]  # not all models have token types

        def run(feed: dict[str, Int64]) -> Float32:
            return session.run(None, {name: feed[name] for name in names})[0]

        return Padded(files.model_dir, run)

    return load


def openvino(kind: str, precision: str | None) -> Callable[[Files, int, str], Encode]:
    """OpenVINO with dynamic shapes; the setting is its performance hint."""

    def load(files: Files, threads: int, setting: str) -> Encode:
        import openvino as ov

        config = {"PERFORMANCE_HINT": setting, "INFERENCE_NUM_THREADS": threads}
        if precision is not None:
            config["INFERENCE_PRECISION_HINT"] = precision
        compiled = ov.Core().compile_model(str(files.converted[kind] / "model.xml"), "CPU", config)
        names = [node.get_any_name() for node in compiled.inputs]
        streams = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(streams):
            idle.put(compiled.create_infer_request())

        def run(feed: dict[str, Int64]) -> Float32:
            request = idle.get()
            try:
                # a copy, because the request's output is overwritten by whoever takes it next
                return request.infer({name: feed[name] for name in names}, share_inputs=True)[0]
            finally:
                idle.put(request)

        return Padded(files.model_dir, run, streams)

    return load


def fastembed(files: Files, threads: int, setting: str) -> Encode:
    """fastembed with this very model, through its interface for models of one's own."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    config = json.loads((files.model_dir / "config.json").read_text())
    TextEmbedding.add_custom_model(
        model="benchmark/model",
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf="benchmark/model"),
        dim=config["hidden_size"],
        model_file="model.onnx",
    )
    folder = str(files.converted["fastembed"])
    model = TextEmbedding("benchmark/model", threads=threads, specific_model_path=folder)

    def encode(sentences: list[str], batch_size: int) -> Float32:
        order = sorted(range(len(sentences)), key=lambda i: -len(sentences[i]))
        vectors = list(model.embed([sentences[i] for i in order], batch_size=batch_size))
        return np.asarray(vectors, np.float32)[np.argsort(order)]

    return encode


def ctranslate2(kind: str) -> Callable[[Files, int, str], Encode]:
    """CTranslate2; the setting shares the threads out as inter_threads x intra_threads."""

    def load(files: Files, threads: int, setting: str) -> Encode:
        import ctranslate2

        streams = 1 if setting == "intra" else threads
        encoder = ctranslate2.Encoder(
            str(files.converted[kind]),
            compute_type="int8" if kind == "ctranslate2_int8" else "float32",
            inter_threads=streams,
            intra_threads=threads // streams,
        )

        def run(feed: dict[str, Int64]) -> Float32:
            lengths = feed["attention_mask"].sum(1)
            ids = [row[:n].tolist() for row, n in zip(feed["input_ids"], lengths, strict=True)]
            return np.array(encoder.forward_batch(ids).last_hidden_state)

        return Padded(files.model_dir, run, streams)

    return load


def llama_cpp(kind: str) -> Callable[[Files, int, str], Encode]:
    """llama.cpp through its Python binding, which fills batches of 512 tokens by itself.

    It cuts at 512 tokens without putting [SEP] back at the end, so its vectors of longer texts differ.
    """

    def load(files: Files, threads: int, setting: str) -> Encode:
        from llama_cpp import LLAMA_POOLING_TYPE_MEAN, Llama

        model = Llama(
            str(files.converted[kind] / "model.gguf"),
            embedding=True,
            pooling_type=LLAMA_POOLING_TYPE_MEAN,
            n_ctx=512,
            n_batch=512,
            n_ubatch=512,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
        )

        def encode(sentences: list[str], batch_size: int) -> Float32:
            return np.asarray(model.embed(sentences, normalize=True, truncate=True), np.float32)

        return encode

    return load


class Padded:
    """What a user of a bare inference runtime writes around it: sort, pad, run, mean-pool, normalise.

    ``run`` takes ``input_ids``, ``attention_mask`` and ``token_type_ids``, (B, T) int64, and gives the last
    hidden state, (B, T, D) float32. With more than one stream, that many batches are under way at once.
    """

    def __init__(self, model_dir: Path, run: Callable[[dict[str, Int64]], Float32], streams: int = 1) -> None:
        self.tokenizer = texts.load_tokenizer(model_dir)
        self.run = run
        self.pool = ThreadPoolExecutor(streams) if streams > 1 else None

    def __call__(self, sentences: list[str], batch_size: int) -> Float32:
        """The vectors, (B, D), in the order of the texts."""
        ids = [e.ids for e in self.tokenizer.encode_batch(sentences)]
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        batches = [
            [ids[i] for i in order[start : start + batch_size]] for start in range(0, len(ids), batch_size)
        ]
        pooled = list((self.pool.map if self.pool else map)(self.batch, batches))
        return np.concatenate(pooled)[np.argsort(order)]

    def batch(self, ids: Sequence[Sequence[int]]) -> Float32:
        """One padded batch: B lists of ids -> (B, D)."""
        lengths = np.array([len(row) for row in ids])
        mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)  # (B, T)
        input_ids = np.zeros_like(mask)
        input_ids[mask == 1] = np.concatenate(ids)
        feed = {"input_ids": input_ids, "attention_mask": mask, "token_type_ids": np.zeros_like(mask)}
        hidden = self.run(feed)  # (B, T, D)
        summed = (mask[:, None, :].astype(np.float32) @ hidden)[:, 0]  # (B, D): the norm undoes the count
        return summed / np.linalg.norm(summed, axis=1, keepdims=True)


MINIGTE = ("minigte",)
TORCH = ("sentence-transformers",)
ORT = ("onnxruntime", "tokenizers")
OPENVINO = ("openvino", "tokenizers")
CTRANSLATE2 = ("ctranslate2", "tokenizers")
LLAMA_CPP = ("llama-cpp-python",)
HINTS = ("LATENCY", "THROUGHPUT")
SHARES = ("intra", "inter")

PEERS = (
    Peer("minigte", "float32", minigte("float32", "auto"), MINIGTE, quick=True),
    Peer("minigte", "bfloat16", minigte("bfloat16", "auto"), MINIGTE, quick=True),
    Peer("minigte", "int8", minigte("int8", "auto"), MINIGTE, quick=True),
    Peer("minigte (NumPy)", "float32", minigte("float32", "numpy"), MINIGTE),
    Peer("sentence-transformers", "float16, as installed", sentence_transformers(None), TORCH),
    Peer("sentence-transformers", "float32", sentence_transformers("float32"), TORCH),
    Peer("sentence-transformers", "bfloat16", sentence_transformers("bfloat16"), TORCH),
    Peer(
        "ONNX Runtime",
        "float32",
        onnxruntime({"fused": "ort_fused", "exported": ""}),
        ORT,
        settings=("fused", "exported"),
        converted=("ort_fused",),
        quick=True,
    ),
    Peer(
        "ONNX Runtime",
        "int8",
        onnxruntime({"fused": "ort_int8_fused", "exported": "ort_int8"}),
        ORT,
        settings=("fused", "exported"),
        converted=("ort_int8_fused", "ort_int8"),
        quick=True,
    ),
    Peer(
        "OpenVINO",
        "float32",
        openvino("openvino_float32", "f32"),
        OPENVINO,
        settings=HINTS,
        converted=("openvino_float32",),
        quick=True,
    ),
    Peer(
        "OpenVINO",
        "bfloat16",
        openvino("openvino_float32", "bf16"),
        OPENVINO,
        settings=HINTS,
        converted=("openvino_float32",),
        quick=True,
    ),
    Peer(
        "OpenVINO",
        "int8",
        openvino("openvino_int8", None),
        OPENVINO,
        settings=HINTS,
        converted=("openvino_int8",),
    ),
    Peer("fastembed", "float32", fastembed, ("fastembed",), converted=("fastembed",)),
    Peer(
        "CTranslate2",
        "float32",
        ctranslate2("ctranslate2_float32"),
        CTRANSLATE2,
        settings=SHARES,
        converted=("ctranslate2_float32",),
    ),
    Peer(
        "CTranslate2",
        "int8",
        ctranslate2("ctranslate2_int8"),
        CTRANSLATE2,
        settings=SHARES,
        converted=("ctranslate2_int8",),
    ),
    Peer(
        "llama.cpp",
        "float32",
        llama_cpp("gguf_float32"),
        LLAMA_CPP,
        batches=False,
        converted=("gguf_float32",),
    ),
    Peer(
        "llama.cpp",
        "int8",
        llama_cpp("gguf_q8_0"),
        LLAMA_CPP,
        batches=False,
        converted=("gguf_q8_0",),
    ),
)
