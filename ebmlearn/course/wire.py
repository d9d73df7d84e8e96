"""Plain data on a pipe: numbers, tensors, tuples and a few energies as JSON, and back. Nothing that runs when it is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..energies import DoubleWell, Energy, Gaussian, Mixture, Ring, Sum

DTYPES = {"float32": torch.float32, "float64": torch.float64, "int64": torch.int64, "bool": torch.bool}
MOST = 2_000_000  # numbers in one tensor

# name -> (what makes it, its arguments as plain data)
ENERGIES: dict[str, tuple[Callable[..., Energy], Callable[[Any], dict[str, Any]]]] = {
    "Gaussian": (Gaussian.from_precision, lambda e: {"mean": e.mean, "precision": e.precision}),
    "DoubleWell": (DoubleWell, lambda e: {"dim": e.dim, "height": e.height}),
    "Ring": (Ring, lambda e: {"radius": e.radius, "width": e.width}),
    "Sum": (Sum, lambda e: {"energies": list(e.energies), "weights": list(e.weights)}),
    "Mixture": (Mixture, lambda e: {"energies": list(e.energies), "logits": e.logits}),
}


class NotPlain(ValueError):
    """A value that is not plain data, or a message that is none; the text says what it is."""


def _encode_tensor(t: Tensor) -> dict[str, Any]:
    if t.numel() > MOST:
        return {"other": f"tensor of {t.numel()} numbers"}
    name = "bool" if t.dtype == torch.bool else "int64" if not (t.is_floating_point() or t.is_complex()) else "float64"
    if t.is_complex():
        return {"other": "complex tensor"}
    if t.dtype == torch.float32:
        name = "float32"
    return {"tensor": t.detach().cpu().to(DTYPES[name]).flatten().tolist(), "shape": list(t.shape), "dtype": name}


def encode(value: Any) -> Any:
    """`value` as JSON can write it; what is not plain data becomes its type's name.

    Example:
        >>> encode((torch.ones(2), 3))
        {'tuple': [{'tensor': [1.0, 1.0], 'shape': [2], 'dtype': 'float32'}, 3]}
        >>> encode(print)
        {'other': 'builtin_function_or_method'}
    """
    if value is Ellipsis:
        return {"missing": True}
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return float(value) if isinstance(value, float) or abs(value) >= 2**62 else int(value)
    if isinstance(value, Tensor):
        return _encode_tensor(value)
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        return _encode_tensor(torch.as_tensor(value.astype(np.float64) if value.dtype.kind == "f" else value.astype(np.int64)))
    if isinstance(value, tuple):
        return {"tuple": [encode(v) for v in value]}
    if isinstance(value, list):
        return [encode(v) for v in value]
    name = type(value).__name__
    if name in ENERGIES and isinstance(value, Energy):
        return {"energy": name, "arguments": {k: encode(v) for k, v in ENERGIES[name][1](value).items()}}
    return {"other": name}


def _decode_tensor(value: dict[str, Any]) -> Tensor:
    data, shape, dtype = value["tensor"], value.get("shape", ""), DTYPES.get(str(value.get("dtype")))
    plain = isinstance(data, list) and len(data) <= MOST and all(isinstance(v, int | float) for v in data)
    shaped = isinstance(shape, list) and len(shape) <= 16 and all(type(n) is int and 0 <= n <= MOST for n in shape)
    if not plain or not shaped or dtype is None or math.prod(shape) != len(data):
        raise NotPlain("a tensor whose numbers, shape and type do not fit together")
    try:
        return torch.tensor(data, dtype=dtype).reshape(shape)
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise NotPlain("a tensor of numbers that no tensor holds") from error


def decode(value: Any, *, energies: bool = False, depth: int = 0) -> Any:
    """What `encode` wrote; raises for anything else.

    Args:
        energies: make energies too; the side that asks the questions needs none.

    Raises:
        NotPlain: the value was not plain data, or the message is malformed.

    Example:
        >>> decode(encode((torch.ones(2), 3)))
        (tensor([1., 1.]), 3)
    """
    if depth > 20:
        raise NotPlain("lists inside lists, more than 20 deep")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [decode(v, energies=energies, depth=depth + 1) for v in value]
    if isinstance(value, dict):
        if "missing" in value:
            return ...
        if "other" in value:
            raise NotPlain(f"a {str(value['other'])[:60]}")
        if "tensor" in value:
            return _decode_tensor(value)
        if "tuple" in value and isinstance(value["tuple"], list):
            return tuple(decode(v, energies=energies, depth=depth + 1) for v in value["tuple"])
        if energies and value.get("energy") in ENERGIES and isinstance(value.get("arguments"), dict):
            arguments = {k: decode(v, energies=True, depth=depth + 1) for k, v in value["arguments"].items()}
            return ENERGIES[value["energy"]][0](**arguments)
    raise NotPlain("a message that the grader does not know")
