"""Tensors as people write them, nested lists by name, and as the Open Inference Protocol has them.

Pure. A tensor may also be given flat, as ``{"shape": […], "data": […]}``.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from marketplace.predictions.calls.invalid import InputInvalid

INTEGERS: Mapping[str, tuple[int, int]] = {
    f"{sign}INT{bits}": ((0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
"""The least and the greatest value of each whole datatype."""


def tensors_of(declared: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> list[Any]:
    """The protocol's ``inputs``. Raises :class:`InputInvalid` that names the tensor."""
    names = [str(tensor["name"]) for tensor in declared]
    for name in given:
        if name not in names:
            raise InputInvalid(f"the model takes {', '.join(names)}, not {name!r}", f"input.{name}")
    for name in names:
        if name not in given:
            raise InputInvalid(f"{name} is missing", f"input.{name}")
    return [_tensor(tensor, given[tensor["name"]]) for tensor in declared]


def nested(shape: Sequence[int], values: Sequence[Any]) -> list[Any]:
    """Flat values as nested lists of this shape; flat where they do not fill it."""
    if len(shape) < 2 or not values or len(values) != prod(shape):
        return list(values)
    width = prod(shape[1:])
    rows = (values[at : at + width] for at in range(0, len(values), width))
    return [nested(shape[1:], row) for row in rows]


def outputs_by_name(outputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The protocol's ``outputs`` as nested lists by name."""
    return {str(tensor["name"]): nested(tensor["shape"], tensor["data"]) for tensor in outputs}


def _tensor(declared: Mapping[str, Any], given: Any) -> dict[str, Any]:
    name, datatype = str(declared["name"]), str(declared["datatype"])
    at = f"input.{name}"
    if isinstance(given, dict):
        shape, data = _flat(given, at)
    else:
        shape = list(_sizes(given, at))
        data = list(_values(given, shape, at))
    wanted = list(declared["shape"])
    fits = len(shape) == len(wanted) and all(
        item in (size, -1) for size, item in zip(shape, wanted, strict=True)
    )
    if not fits:
        raise InputInvalid(f"{name} has the shape {shape}; it must be {wanted} (-1: any)", at)
    _check(datatype, data, at)
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def _flat(given: Mapping[str, Any], at: str) -> tuple[list[int], list[Any]]:
    shape, data = given.get("shape"), given.get("data")
    if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
        raise InputInvalid("shape must be a list of whole numbers above zero", f"{at}.shape")
    if not isinstance(data, list) or len(data) != prod(shape):
        raise InputInvalid(f"data must be a flat list of {prod(shape)} values", f"{at}.data")
    return shape, data


def _sizes(given: Any, at: str) -> Iterator[int]:
    """The lengths along the first branch of nested lists."""
    if not isinstance(given, list):
        raise InputInvalid("this must be a list, or an object of shape and data", at)
    while isinstance(given, list):
        yield len(given)
        if not given:
            raise InputInvalid("a list is empty", at)
        given = given[0]


def _values(given: Any, shape: Sequence[int], at: str) -> Iterator[Any]:
    if not shape:
        if isinstance(given, list):
            raise InputInvalid("this list is deeper than the first ones", at)
        yield given
        return
    if not isinstance(given, list) or len(given) != shape[0]:
        raise InputInvalid(f"this must be a list of {shape[0]}, as the first one is", at)
    for place, inner in enumerate(given):
        yield from _values(inner, shape[1:], f"{at}[{place}]")


def _check(datatype: str, data: Sequence[Any], at: str) -> None:
    if datatype == "BYTES":
        wrong, wanted = (v for v in data if not isinstance(v, str)), "texts"
    elif datatype == "BOOL":
        wrong, wanted = (v for v in data if not isinstance(v, bool)), "true and false"
    elif datatype in INTEGERS:
        low, high = INTEGERS[datatype]
        wrong = (v for v in data if type(v) is not int or not low <= v <= high)
        wanted = f"whole numbers from {low} to {high}"
    else:
        wrong, wanted = (v for v in data if type(v) not in (int, float)), "numbers"
    for value in wrong:
        shown = repr(value)[:40]
        raise InputInvalid(f"{datatype} are {wanted}, not {shown}", at)
