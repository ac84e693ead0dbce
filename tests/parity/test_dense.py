"""Dense modules as sentence-transformers makes, saves and computes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import exact
import pytest
import tiny
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Dropout

from minigte import Embedder
from minigte.vectors.head import ACTIVATION_FUNCTIONS

TEXTS = ["the cat sat on the mat", "a dog", "", "the dogs, running: 3 cats!"]


def saved(folder: Path, *behind: Any) -> tuple[Path, SentenceTransformer]:
    """A tiny model with these modules behind Pooling, as sentence-transformers saves it."""
    own = SentenceTransformer(
        str(tiny.write_model(folder / "a", seed=5)), device="cpu", model_kwargs={"dtype": torch.float32}
    )
    model = SentenceTransformer(modules=[own[0], own[1], *behind], device="cpu").eval()
    model.save(str(folder / "b"), create_model_card=False)
    return folder / "b", model


def assert_equal(folder: Path, model: SentenceTransformer) -> None:
    got = Embedder(folder).encode(TEXTS, truncation="ignore")
    want = model.encode(TEXTS)
    assert got.dtype == want.dtype
    assert exact.difference(got, want) <= exact.VECTOR_BOUND


@pytest.mark.filterwarnings("ignore:Implicit dimension choice")  # of Softmax and its kind
@pytest.mark.parametrize("name", ACTIVATION_FUNCTIONS)
def test_every_activation(name: str) -> None:
    x = torch.linspace(-30, 30, 6001)[None]
    want = getattr(torch.nn, name)().eval()(x.double())[0].numpy()
    got = ACTIVATION_FUNCTIONS[name](x.double().numpy())[0]
    assert abs(got - want).max() <= 1e-12 * max(1, abs(want).max())


@pytest.mark.parametrize("bias", [True, False])
def test_one_between_pooling_and_norm(tmp_path: Path, bias: bool) -> None:
    """As in sentence-t5 and gtr-t5, where it has neither bias nor activation."""
    torch.manual_seed(1)
    dense = Dense(20, 13, bias=bias, activation_function=torch.nn.Identity() if not bias else torch.nn.Tanh())
    assert_equal(*saved(tmp_path, dense, Normalize()))


def test_several_in_a_row(tmp_path: Path) -> None:
    torch.manual_seed(2)
    head = [
        Normalize(),
        Dense(20, 50, activation_function=torch.nn.GELU()),
        Dropout(0.3),
        Dense(50, 9, bias=False, activation_function=None),
    ]
    assert_equal(*saved(tmp_path, *head))
