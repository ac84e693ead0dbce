"""minigte inside ``mteb``, the Massive Text Embedding Benchmark: ``pip install 'minigte[mteb]'``.

import mteb
from minigte import Embedder
from minigte.integrations.mteb import EmbedderWrapper

mteb.evaluate(EmbedderWrapper(Embedder("thenlper/gte-small")), mteb.get_task("STSBenchmark"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from minigte.arrays import Float32
from minigte.embedder import NO_PROMPTS, Embedder
from minigte.errors import InputError, MissingDependencyError
from minigte.loading.hashes import model_sha256
from minigte.loading.known_models import find_known

try:
    import mteb
    from mteb.models import ModelMeta
    from mteb.models.abs_encoder import get_prompt
    from mteb.models.model_meta import ScoringFunction
    from mteb.types import PromptType
except ImportError as error:
    raise MissingDependencyError(
        f"minigte.integrations.mteb needs mteb ({error}): pip install mteb"
    ) from error

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata


class EmbedderWrapper:
    """An Embedder as mteb wants its models: ``mteb.models.EncoderProtocol`` of mteb 2.

    ``mteb_model_meta`` says what was measured. Its ``experiment_kwargs`` hold the Embedder's dtype and
    backend, and what else was asked of it, so that mteb never takes one's cached scores for another's.
    """

    def __init__(
        self, model: str | Embedder, revision: str | None = None, *, device: str | None = None, **options: Any
    ) -> None:
        """Wrap an Embedder, or the one that ``Embedder(model, revision=revision, **options)`` loads.

        mteb's own loader gives a name; ``device`` is there for it and can only be "cpu".
        """
        if device not in (None, "cpu"):
            raise InputError(f"minigte computes on the CPU, not on device {device!r}")
        if isinstance(model, Embedder) and (revision is not None or options):
            raise InputError("revision and options are for a model's name: give them to the Embedder")
        self.model = model if isinstance(model, Embedder) else Embedder(model, revision=revision, **options)
        self.mteb_model_meta = model_meta(self.model)

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> npt.NDArray[Any]:
        """Embed the "text" of every batch of a DataLoader: B texts in all -> (B, D), in its order.

        ``prompt_type`` chooses ``encode_query``, ``encode_document`` or ``encode``. Of the Embedder's prompts
        the one for this task and prompt type is put in front, by mteb's rules: "NFCorpus-query" goes before
        "NFCorpus", "Retrieval-query", "Retrieval" and "query". ``kwargs`` go to ``encode``: mteb's
        ``batch_size``, ``show_progress_bar``, ``precision``, and Embedder's own, such as ``truncation``.
        A text that occurs several times is computed once: its vector has the same bits wherever it stands.

        Raises InputError for inputs without text.
        """
        encoders: dict[PromptType | None, Callable[..., Any]] = {
            None: self.model.encode,
            PromptType.query: self.model.encode_query,
            PromptType.document: self.model.encode_document,
        }
        sentences: list[str] = []
        for batch in inputs:
            if "text" not in batch:
                found = ", ".join(batch)
                raise InputError(
                    f"minigte embeds text, and {task_metadata.name} has {found}: choose a text task"
                )
            sentences.extend(batch["text"])
        prompt = get_prompt(self.model.prompts, task_metadata, prompt_type)
        row = {text: i for i, text in enumerate(dict.fromkeys(sentences))}
        embeddings = encoders[prompt_type](list(row), prompt=prompt, **kwargs)  # (distinct texts, D)
        return embeddings[[row[text] for text in sentences]]

    def similarity(self, embeddings1: npt.ArrayLike, embeddings2: npt.ArrayLike) -> Float32:
        """The model's similarity of every pair: (A, D), (B, D) -> (A, B)."""
        return self.model.similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: npt.ArrayLike, embeddings2: npt.ArrayLike) -> Float32:
        """The model's similarity of each row with its counterpart: (B, D), (B, D) -> (B,)."""
        return self.model.similarity_pairwise(embeddings1, embeddings2)


def model_meta(embedder: Embedder) -> ModelMeta:
    """What mteb records about a model: facts of this Embedder, and mteb's own about the model's publication.

    A model of the manifest has the Hub's commit as ``revision``, also where npm carried its weights. A folder
    is named "local/FOLDER", and its ``revision`` is a hash of its weights and configuration.
    """
    source, config = embedder.source, embedder.config
    known = find_known(source.name) if source.origin != "folder" else None
    if source.origin == "folder":
        name, revision = f"local/{source.folder.resolve().name}", model_sha256(source.folder, config)[:40]
    elif known is not None and source.origin.startswith("npm"):
        name, revision = known.name, known.revision
    else:
        name, revision = known.name if known else source.name, source.revision or ""
    try:
        published = mteb.get_model_meta(name)
    except KeyError:  # mteb does not know it
        published = ModelMeta.create_empty({"license": known.license.lower() if known else None})
    experiment = _experiment(embedder)
    return published.model_copy(
        update={
            "loader": EmbedderWrapper,
            "loader_kwargs": {},  # experiment_kwargs are given to the loader too
            "name": name,
            "revision": revision,
            "n_parameters": embedder.num_parameters,
            "n_embedding_parameters": config.spec.vocab_size * config.spec.hidden_size,
            "memory_usage_mb": None,
            "max_tokens": float(embedder.max_seq_length),
            "embed_dim": embedder.embedding_dimension,
            "open_weights": True,
            "framework": ["NumPy"],  # the nearest that mteb has a word for
            "similarity_fn_name": ScoringFunction(config.similarity_fn_name),
            "use_instructions": any(embedder.prompts.values()),
            "model_type": ["dense"],
            "modalities": ["text"],
            "output_dtypes": None,  # float32
            "extra_requirements_groups": None,
            "experiment_kwargs": experiment,
        }
    )


def _experiment(embedder: Embedder) -> dict[str, Any]:
    """The arguments of Embedder that change its vectors: dtype and backend, and others if they were given."""
    config = embedder.config
    own_prompts = {**NO_PROMPTS, **config.prompts}
    prompts = {name: text for name, text in embedder.prompts.items() if own_prompts.get(name) != text}
    given: Sequence[tuple[str, Any, Any]] = (
        ("truncate_dim", embedder.truncate_dim, config.truncate_dim),
        ("max_seq_length", embedder.max_seq_length, config.max_seq_length),
        ("default_prompt_name", embedder.default_prompt_name, config.default_prompt_name),
        ("prompts", prompts, {}),
    )
    return {
        "dtype": embedder.backend.dtype,
        "backend": embedder.backend_name,
        **{name: value for name, value, default in given if value != default},
    }
