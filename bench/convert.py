"""What is made once and kept on disk: the forms of the model that peers read, and the reference vectors.

Every form is made by the peer's own converter. ``python convert.py KIND TARGET SOURCES-as-JSON`` makes one,
in a process of its own, so that the converters' memory and libraries never reach the process that measures.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import machine
import texts


@dataclass(frozen=True)
class Sources:
    """What everything is converted from."""

    model_dir: str  # the checkpoint: config.json, model.safetensors, tokenizer files
    onnx: str  # the fp32 ONNX export of the same weights
    data_dir: str  # texts for calibration
    cache: str  # where bench.mk unpacked llama-cpp-python, whose archive holds llama.cpp's converter


def ort_fused(source: Sources, target: Path) -> None:
    """ONNX Runtime's own transformer optimizer: attention, layer norm and GELU become single nodes."""
    from onnxruntime.transformers.optimizer import optimize_model

    config = json.loads((Path(source.model_dir) / "config.json").read_text())
    model = optimize_model(
        source.onnx,
        model_type="bert",
        num_heads=config["num_attention_heads"],
        hidden_size=config["hidden_size"],
    )
    model.save_model_to_file(str(target / "model.onnx"))


def seven_bits() -> bool:
    """Whether weights must keep to 7 bits, as ONNX Runtime's documentation says of processors without VNNI.

    There products of bytes are added in 16 bits; with 8 bits those overflow, and the vectors mean nothing.
    """
    flags = machine.facts()["flags"]
    return not {"avx_vnni", "avx512_vnni", "asimddp"} & set(flags)


def ort_int8(source: Sources, target: Path) -> None:
    """Dynamic int8 of the graph as exported, one scale a weight column."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source.onnx, target / "model.onnx", per_channel=True, reduce_range=seven_bits())


def ort_int8_fused(source: Sources, target: Path) -> None:
    """Dynamic int8 of the fused graph."""
    from onnx import TensorProto
    from onnxruntime.quantization import quantize_dynamic

    ort_fused(source, target)
    (target / "model.onnx").rename(target / "float.onnx")
    # onnx cannot infer types past ONNX Runtime's own fused nodes: say that what is unknown is float
    known = {"DefaultTensorType": TensorProto.FLOAT}
    quantize_dynamic(
        target / "float.onnx",
        target / "model.onnx",
        per_channel=True,
        reduce_range=seven_bits(),
        extra_options=known,
    )
    (target / "float.onnx").unlink()


def openvino_float32(source: Sources, target: Path) -> None:
    """OpenVINO's own format, weights kept in float32."""
    import openvino

    openvino.save_model(openvino.convert_model(source.onnx), target / "model.xml", compress_to_fp16=False)


def openvino_int8(source: Sources, target: Path) -> None:
    """NNCF's post-training quantisation for transformers, calibrated on texts that are not measured."""
    import nncf
    import numpy as np
    import openvino

    tokenizer = texts.load_tokenizer(Path(source.model_dir))
    calibration = texts.load(Path(source.data_dir), Path(source.model_dir)).calibration

    model = openvino.convert_model(source.onnx)
    names = [node.get_any_name() for node in model.inputs]  # not all models have token types

    def inputs(text: str) -> dict[str, np.ndarray]:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        given = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        return {name: given[name] for name in names}

    quantized = nncf.quantize(
        model,
        nncf.Dataset(calibration, inputs),
        subset_size=len(calibration),
        model_type=nncf.ModelType.TRANSFORMER,
    )
    openvino.save_model(quantized, target / "model.xml", compress_to_fp16=False)


def ctranslate2_float32(source: Sources, target: Path) -> None:
    """CTranslate2's own format in float32."""
    _ctranslate2(source, target, "float32")


def ctranslate2_int8(source: Sources, target: Path) -> None:
    """CTranslate2's own format with int8 weights."""
    _ctranslate2(source, target, "int8")


def _ctranslate2(source: Sources, target: Path, quantization: str) -> None:
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(source.model_dir).convert(str(target), quantization=quantization, force=True)


def fastembed(source: Sources, target: Path) -> None:
    """A model folder as fastembed expects it from a hub, for its ``specific_model_path``.

    gte-small's tokenizer_config.json says ``max_length`` 128 beside ``model_max_length`` 512, and fastembed
    takes the smaller: without this change it would cut every document at 128 tokens and look fast.
    """
    for name in ("config.json", "tokenizer.json", "special_tokens_map.json"):
        shutil.copy(Path(source.model_dir) / name, target)
    config = json.loads((Path(source.model_dir) / "tokenizer_config.json").read_text())
    config["max_length"] = config["model_max_length"]
    (target / "tokenizer_config.json").write_text(json.dumps(config))
    shutil.copy(source.onnx, target / "model.onnx")


def gguf_float32(source: Sources, target: Path) -> None:
    """llama.cpp's format in float32."""
    _gguf(source, target, "f32")


def gguf_q8_0(source: Sources, target: Path) -> None:
    """llama.cpp's format with 8-bit weights, one scale for each 32."""
    _gguf(source, target, "q8_0")


def _gguf(source: Sources, target: Path, outtype: str) -> None:
    unpacked = Path(source.cache) / f"llama_cpp_python-{version('llama-cpp-python')}"
    script = unpacked / "vendor" / "llama.cpp" / "convert_hf_to_gguf.py"
    command = [sys.executable, str(script), source.model_dir, "--outtype", outtype]
    subprocess.run([*command, "--outfile", str(target / "model.gguf")], check=True)


def reference(source: Sources, target: Path) -> None:
    """The vectors to compare with: transformers in float32, one text at a time, so without padding."""
    import numpy as np
    import torch
    from transformers import AutoModel

    corpus = texts.load(Path(source.data_dir), Path(source.model_dir))
    tokenizer = texts.load_tokenizer(Path(source.model_dir))
    model = AutoModel.from_pretrained(source.model_dir, dtype=torch.float32).eval()
    vectors = []
    with torch.inference_mode():
        for encoding in tokenizer.encode_batch(corpus.texts):
            hidden = model(torch.tensor([encoding.ids])).last_hidden_state[0]  # (T, D)
            vectors.append(hidden.double().mean(0).numpy())
    stacked = np.stack(vectors)
    np.save(target / "vectors.npy", stacked / np.linalg.norm(stacked, axis=1, keepdims=True))


# kind -> (converter, the distribution whose version decides whether a kept result is still right)
KINDS = {
    "reference": (reference, "transformers"),
    "ort_fused": (ort_fused, "onnxruntime"),
    "ort_int8": (ort_int8, "onnxruntime"),
    "ort_int8_fused": (ort_int8_fused, "onnxruntime"),
    "openvino_float32": (openvino_float32, "openvino"),
    "openvino_int8": (openvino_int8, "nncf"),
    "ctranslate2_float32": (ctranslate2_float32, "ctranslate2"),
    "ctranslate2_int8": (ctranslate2_int8, "ctranslate2"),
    "fastembed": (fastembed, "fastembed"),
    "gguf_float32": (gguf_float32, "llama-cpp-python"),
    "gguf_q8_0": (gguf_q8_0, "llama-cpp-python"),
}


def fingerprint(source: Sources) -> str:
    """Names everything that decides what a converted file holds: weights, texts, and how it is made."""
    here, data = Path(__file__).parent, Path(source.data_dir)
    deciding = (
        Path(source.model_dir) / "model.safetensors",
        Path(source.onnx),
        data / "STSBenchmark" / "test.tsv",
        data / "NFCorpus" / "corpus.jsonl",
        data / "NFCorpus" / "queries.jsonl",
        here / "texts.py",
        here / "convert.py",
    )
    digest = hashlib.sha256()
    for path in deciding:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def ensure(kind: str, source: Sources, folder: Path) -> tuple[Path, float]:
    """The folder that holds ``kind``, and the seconds it once took to make; makes it if it is not there.

    It is made in a process of its own, under a temporary name, and renamed when whole.
    """
    target = folder / f"{kind}-{version(KINDS[kind][1])}"
    if not target.exists():
        building = folder / f"{kind}.building"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        command = [sys.executable, __file__, kind, str(building), json.dumps(asdict(source))]
        start = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError(f"converting to {kind} failed: {done.stdout.strip().splitlines()[-1]}")
        (building / "seconds").write_text(f"{time.perf_counter() - start:.1f}")
        building.rename(target)
    return target, float((target / "seconds").read_text())


if __name__ == "__main__":
    kind, target, source = sys.argv[1:]
    KINDS[kind][0](Sources(**json.loads(source)), Path(target))
