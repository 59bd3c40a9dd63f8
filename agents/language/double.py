"""float64 that stays float64: inside a model, nothing is rounded to float32.

Hugging Face's norms, attention weights and positions are computed in float32 whatever the model's own precision is.
That is right for bfloat16, and takes 1e-7 off a float64 model, whose finite differences then show noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


class _StayDouble(TorchFunctionMode):
    """A float64 tensor that is to become float32 stays what it is."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if any(isinstance(x, Tensor) and x.dtype == torch.float64 for x in args):
            if func is Tensor.float:
                return args[0]
            args = tuple(_widened(x) for x in args)
            kwargs = {name: _widened(x) for name, x in kwargs.items()}
        return func(*args, **kwargs)


def _widened(x: Any) -> Any:
    return torch.float64 if isinstance(x, torch.dtype) and x == torch.float32 else x


@contextmanager
def unrounded(like: Tensor) -> Iterator[None]:
    """Within it a model of the dtype of `like` is computed in it throughout; forward-mode derivatives work, too.

    The fused attention kernels have no forward-mode derivative: in float64 the plain one is used. Other dtypes are left
    to the model.
    """
    if like.dtype != torch.float64:
        yield
        return
    with _StayDouble(), sdpa_kernel(SDPBackend.MATH):
        yield
