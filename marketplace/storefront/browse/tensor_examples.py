"""An example of each tensor that a model takes, for the code on its page. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from router.contracts.oip import BYTES, DTYPES

VALUES_MAX = 64
"""Values that code lists at most; larger arrays are filled."""
TEXT = "text"


@dataclass(frozen=True, slots=True)
class TensorExample:
    """One row. ``values`` are those of its schema's columns, if that names them, and else alike."""

    name: str
    datatype: str
    shape: list[int]
    values: list[Any]

    @property
    def code(self) -> str:
        """Its name, datatype and array in Python; whatever the name is, it ends no text."""
        return f"{self.name!r}, {self.datatype!r}, {self.array}"

    @property
    def array(self) -> str:
        """An expression of NumPy, as ``np``."""
        # NumPy has no bfloat16: tritonclient takes float32 for it.
        dtype = "object" if self.datatype == BYTES else f"np.{np.dtype(self._dtype).name}"
        if len(set(self.values)) > 1:
            return f"np.array({self.values!r}, {dtype}).reshape({self.shape})"
        return f"np.full({self.shape}, {self.values[0]!r}, {dtype})"

    @property
    def _dtype(self) -> Any:
        return DTYPES.get(self.datatype, np.float32)


def tensor_examples(inputs: Sequence[Mapping[str, Any]], schema: Any) -> list[TensorExample]:
    """One for each input, in their order."""
    properties = _mapping(_mapping(schema).get("properties"))
    return [_example(tensor, _mapping(properties.get(tensor["name"]))) for tensor in inputs]


def as_json(examples: Sequence[TensorExample]) -> str:
    """The body of a call; "" for one of no tensors, and if it would be too long to read."""
    if not examples or sum(prod(example.shape) for example in examples) > VALUES_MAX:
        return ""
    inputs = [
        {"name": one.name, "datatype": one.datatype, "shape": one.shape, "data": one.values}
        for one in examples
    ]
    return json.dumps({"inputs": inputs}, ensure_ascii=False)


def _example(tensor: Mapping[str, Any], schema: Mapping[str, Any]) -> TensorExample:
    shape = [max(side, 1) for side in tensor["shape"]]
    columns = _mapping(schema.get("items")).get("prefixItems")
    usual: Any = {BYTES: TEXT, "BOOL": False}.get(tensor["datatype"], 0)
    if isinstance(columns, list) and len(columns) == prod(shape):
        values = [_value(_mapping(column), tensor["datatype"], usual) for column in columns]
    else:
        values = [usual] * min(prod(shape), VALUES_MAX)
    return TensorExample(tensor["name"], tensor["datatype"], shape, values)


def _mapping(value: Any) -> Mapping[str, Any]:
    """What may be anything in a schema, where a mapping means something."""
    return value if isinstance(value, dict) else {}


def _value(column: Mapping[str, Any], datatype: str, usual: Any) -> Any:
    """The column's default or one that it allows; ``usual`` where none is of its datatype."""
    choices = column.get("enum")
    offered = [column.get("default"), *(choices if isinstance(choices, list) else [])]
    kinds = _kinds(datatype)
    return next((v for v in [*offered, column.get("minimum")] if type(v) in kinds), usual)


def _kinds(datatype: str) -> set[type]:
    if datatype == BYTES:
        return {str}
    kind = np.dtype(DTYPES.get(datatype, np.float32)).kind
    return {bool} if kind == "b" else {int, float} if kind == "f" else {int}
