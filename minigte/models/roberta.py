"""What a RoBERTa encoder is: a BERT that was trained otherwise, and counts places from its padding token on.

Liu et al. 2019, "RoBERTa: A Robustly Optimized BERT Pretraining Approach"; XLM-RoBERTa (Conneau et al. 2020)
is the same encoder with another vocabulary. Field names are those of Hugging Face's ``RobertaConfig``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from minigte.models import bert
from minigte.models.architecture import ClassificationHead, Parameter
from minigte.models.spec import Spec


@dataclass(frozen=True)
class Config(bert.Config):
    """BERT's, and the padding token; ``max_position_embeddings`` are rows, and the first ones stay unused."""

    pad_token_id: int = 1  # a text's tokens have the rows from pad_token_id + 1 on

    def __post_init__(self) -> None:
        """Raise ValueError where the sizes do not fit together."""
        super().__post_init__()
        if self.max_position_embeddings <= self.pad_token_id + 1:
            raise ValueError(
                f"max_position_embeddings {self.max_position_embeddings} leaves no place for a token: the "
                f"first has row {self.pad_token_id + 1}, behind pad_token_id"
            )


def spec(config: Config) -> Spec:
    """RoBERTa in the engine's words."""
    return dataclasses.replace(
        bert.spec(config),
        max_tokens=config.max_position_embeddings - config.pad_token_id - 1,
        first_position=config.pad_token_id + 1,
        padding_id=config.pad_token_id,
    )


CLASSIFICATION_HEAD = ClassificationHead(
    "tanh",
    (
        Parameter("dense_weight", "classifier.dense.weight", ("hidden_size", "hidden_size")),
        Parameter("dense_bias", "classifier.dense.bias", ("hidden_size",)),
        Parameter("output_weight", "classifier.out_proj.weight", ("num_labels", "hidden_size")),
        Parameter("output_bias", "classifier.out_proj.bias", ("num_labels",)),
    ),
)

ARCHITECTURE = dataclasses.replace(
    bert.ARCHITECTURE,
    name="roberta",
    config=Config,
    spec=spec,
    prefixes=("roberta.",),
    classification_head=CLASSIFICATION_HEAD.of,
    tokenizer_class="RobertaTokenizer",
    renamed={},
)
