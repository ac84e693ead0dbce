"""What programs written for sentence-transformers pass and ask, and minigte has no use for.

Where it changes nothing it is taken, and where it would change a vector or the kind of an answer it is
refused with what to do instead: it never passes silently. docs/from-sentence-transformers.md shows all of
it, from a test that runs both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from minigte.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from typing_extensions import Self

P = ParamSpec("P")
T = TypeVar("T")


class Option(NamedTuple):
    """An argument of sentence-transformers: which values say what is so here anyway, and why no other."""

    accepts: Callable[[Any], bool]
    otherwise: str


def _anything(value: object) -> bool:
    return True


def _nothing(value: object) -> bool:
    return not value


def _cpu(device: Any) -> bool:
    """None, "cpu", torch.device("cpu"), a list of such, or a map of modules to them."""
    devices = list(device.values()) if isinstance(device, Mapping) else device
    devices = devices if isinstance(devices, (list, tuple)) else [devices]
    return all(each is None or str(each).partition(":")[0] == "cpu" for each in devices)


def _float32(dtype: object) -> bool:
    return dtype is None or str(dtype) in ("float32", "torch.float32", "auto")


MODEL_KWARGS = {
    "torch_dtype": Option(_float32, "say what to compute in by dtype='bfloat16' or 'int8'"),
    "dtype": Option(_float32, "say what to compute in by dtype='bfloat16' or 'int8'"),
    "attn_implementation": Option(_anything, ""),
    "low_cpu_mem_usage": Option(_anything, ""),
    "use_safetensors": Option(_anything, ""),
    "device_map": Option(lambda device: _cpu(device) or device == "auto", "minigte computes on the CPU"),
}
TOKENIZER_KWARGS = {
    "use_fast": Option(_anything, ""),
    "clean_up_tokenization_spaces": Option(_anything, ""),
    "padding_side": Option(_anything, ""),
    "truncation_side": Option(lambda side: side == "right", "minigte cuts texts at their end"),
    "model_max_length": Option(lambda length: length is None, "use max_seq_length"),
}


BACKENDS = {"torch": "auto"}  # sentence-transformers' default names none in particular; others are refused


def _all_in(options: Mapping[str, Option]) -> Callable[[Any], bool]:
    """Whether a dict of further options holds none but these, with values they take."""
    return lambda given: (
        not given or all(name in options and options[name].accepts(value) for name, value in given.items())
    )


_TOKENIZER = Option(
    _all_in(TOKENIZER_KWARGS),
    "the tokenizer runs as tokenizer.json says; for fewer tokens use max_seq_length",
)

_PROMPTS = Option(_nothing, "minigte puts no prompt before a pair: write it into the texts")

LOAD_OPTIONS = {
    "device": Option(_cpu, "minigte computes on the CPU"),
    "trust_remote_code": Option(_anything, ""),  # no code of a model is ever run
    "model_kwargs": Option(
        _all_in(MODEL_KWARGS), "there is no torch model to take them; what to compute in is said by dtype"
    ),
    "tokenizer_kwargs": _TOKENIZER,
    "processor_kwargs": _TOKENIZER,
    "config_kwargs": Option(_nothing, "the model is as its config.json says"),
    "modules": Option(
        lambda modules: modules is None, "minigte loads folders; save the modules with sentence-transformers"
    ),
    "model_card_data": Option(_anything, ""),  # for writing model cards
    "use_auth_token": Option(_nothing, "its name is token"),
}

# Of a CrossEncoder besides.
RERANKER_OPTIONS = {
    **LOAD_OPTIONS,
    "prompts": _PROMPTS,
    "default_prompt_name": _PROMPTS,
    "keep_in_fp32_modules": Option(_anything, ""),  # all are, where dtype is float32
    "classifier_dropout": Option(_anything, ""),  # for training
}

ENCODE_OPTIONS = {
    "convert_to_numpy": Option(
        lambda value: value is True, "vectors are NumPy arrays, and torch.from_numpy makes a tensor of one"
    ),
    "convert_to_tensor": Option(
        lambda value: value is False, "vectors are NumPy arrays, and torch.from_numpy makes a tensor of one"
    ),
    "device": LOAD_OPTIONS["device"],
    "pool": Option(_anything, ""),  # start_multi_process_pool's; threads use all cores without one
    "chunk_size": Option(_anything, ""),
    "processing_kwargs": Option(_nothing, "use max_seq_length, or truncation"),
}

_SCORES = "scores are NumPy arrays, and torch.from_numpy makes a tensor of one"

PREDICT_OPTIONS = {
    **ENCODE_OPTIONS,
    "convert_to_numpy": Option(lambda value: value is True, _SCORES),
    "convert_to_tensor": Option(lambda value: value is False, _SCORES),
    "prompt_name": _PROMPTS,
    "prompt": _PROMPTS,
    "num_workers": Option(_anything, ""),
}

# ``rank`` gives numbers whatever these say, as it does there.
RANK_OPTIONS = {
    **PREDICT_OPTIONS,
    **dict.fromkeys(("convert_to_numpy", "convert_to_tensor", "apply_softmax"), Option(_anything, "")),
}

NOT_HERE = {
    **dict.fromkeys(("half", "bfloat16", "float", "double"), "load it with dtype='bfloat16' or 'int8'"),
    **dict.fromkeys(("cuda", "mps", "xpu", "npu"), "minigte computes on the CPU"),
    **dict.fromkeys(
        ("fit", "train", "evaluate", "old_fit", "smart_batching_collate"),
        "minigte does not train; train with sentence-transformers and load the folder it saves",
    ),
    **dict.fromkeys(
        ("save", "save_pretrained", "save_to_hub", "push_to_hub"), "copy the model's folder, .source.folder"
    ),
    **dict.fromkeys(
        ("preprocess", "get_sentence_features"),
        "use an Embedder's tokenize, or a CrossEncoder's tokenizer.tokenize_pairs: ids without padding",
    ),
    **dict.fromkeys(
        (
            *("_first_module", "_last_module", "model", "modules", "parameters", "state_dict"),
            "transformers_model",
        ),
        "there are no torch modules; .config says what the model is, explain shows every array",
    ),
    "processor": "text is tokenized by .tokenizer",
    "compile": "kernels are compiled anyway",
    "add_adapter": "merge it with peft's merge_and_unload, and save the model",
    "set_pooling_include_prompt": "write include_prompt into the model's 1_Pooling/config.json",
}

# What a model is loaded with; assigned later it would change nothing.
FIXED = {
    **dict.fromkeys(("dtype", "backend_name", "threads"), "load another with dtype=, backend= or threads="),
    **dict.fromkeys(("source", "config"), "load another from another folder"),
    "tokenizer": "assign max_seq_length",
    "embedding_dimension": "assign truncate_dim",
    "device": "minigte computes on the CPU",
}


def accept(where: str, given: Mapping[str, Any], known: Mapping[str, Option]) -> None:
    """Raise TypeError for an argument that is not known, InputError for a value that cannot be honoured."""
    for name, value in given.items():
        if name not in known:
            raise TypeError(f"{where}() got an unexpected keyword argument {name!r}")
        if not known[name].accepts(value):
            raise InputError(f"{name}={value!r} cannot be honoured: {known[name].otherwise}")


def takes_old_names(**names: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let arguments of a function have the names too that they had in other versions: old -> its name."""

    def wrap(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: P.args, **given: P.kwargs) -> T:
            for old, name in names.items():
                if old in given and name not in given:
                    given[name] = given.pop(old)
            return function(*args, **given)

        return call

    return wrap


class Model:
    """What an Embedder and a CrossEncoder have in common for those who come from sentence-transformers."""

    device = "cpu"

    def to(self, device: object) -> Self:
        """The same model, for "cpu". Raises InputError for any other device."""
        accept("to", {"device": device}, LOAD_OPTIONS)
        return self

    def eval(self) -> Self:
        """The same model, which has no parts that are only for training."""
        return self

    def start_multi_process_pool(self, target_devices: object = None) -> dict[str, Any]:
        """An empty pool: a model's threads use all cores without further processes."""
        accept("start_multi_process_pool", {"device": target_devices}, LOAD_OPTIONS)
        return {"input": None, "output": None, "processes": []}

    @staticmethod
    def stop_multi_process_pool(pool: Mapping[str, Any]) -> None:
        """Do nothing: there are no processes to stop."""

    def __getattr__(self, name: str) -> Any:
        """Asked for what is not there: say what takes the place of what sentence-transformers has."""
        message = f"{type(self).__name__!r} object has no attribute {name!r}"
        if name in NOT_HERE:
            raise UnsupportedError(f"{message}: {NOT_HERE[name]}")
        raise AttributeError(message)

    def __setattr__(self, name: str, value: object) -> None:
        if name in FIXED and "backend" in vars(self):  # is loaded, so that it would change nothing
            raise UnsupportedError(f"{name!r} of the {type(self).__name__} cannot be assigned: {FIXED[name]}")
        super().__setattr__(name, value)
