"""State dicts that PyTorch has written, in every form it has, read back."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minigte.loading.state_dict_files import read_state_dict

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def read(path: Path) -> dict[str, Any]:
    return {stored.name: np.array(stored.read()) for stored in read_state_dict(path, None)}


def values(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    whole = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    return {
        "whole": whole,
        "again": whole,
        "rows": whole[2:4],
        "columns": whole[:, 3:5],
        "transposed": whole.T,
        "expanded": whole[:1].expand(3, 8),
        "reversed twice": whole.flip(0),
        "parameter": torch.nn.Parameter(whole[0].clone()),
        "scalar": whole[0, 0].clone(),
        "nothing": whole[:0],
    }


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "options",
    [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}, {"pickle_protocol": 5}],
    ids=str,
)
def test_tensors(tmp_path: Path, dtype: torch.dtype, options: dict[str, Any]) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save(values(dtype), path, **options)
    found = read(path)
    for name, tensor in torch.load(path, weights_only=False).items():
        np.testing.assert_array_equal(found[name], tensor.detach().double().numpy(), err_msg=name)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_modules_state_dict(tmp_path: Path, zipped: bool) -> None:
    """With its ``_metadata``, its integers, and modules that share a parameter."""
    module = torch.nn.Sequential(
        collections.OrderedDict(
            a=torch.nn.Linear(4, 4), norm=torch.nn.BatchNorm1d(4), b=torch.nn.Linear(4, 4)
        )
    )
    module.b.weight = module.a.weight
    path = tmp_path / "pytorch_model.bin"
    torch.save(module.state_dict(), path, _use_new_zipfile_serialization=zipped)
    stored = {stored.name: stored.read for stored in read_state_dict(path, None)}
    assert list(stored) == list(module.state_dict())
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            np.testing.assert_array_equal(stored[name](), tensor.numpy())
