"""The code on the page of a model that takes tensors is a call that the router lets through."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from marketplace.demo.schemas import FRAUD_INPUT
from marketplace.storefront.browse.tensor_examples import VALUES_MAX, as_json, tensor_examples
from router.contracts.oip import BF16, BYTES, DTYPES
from router.ingress.oip.tensors import check_inference, decode


def tensor(datatype: str, *shape: int, name: str = "X") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}


@pytest.mark.parametrize("datatype", [*DTYPES, BYTES, BF16])
@pytest.mark.parametrize("shape", [(-1, 4), (3,), (-1, 2, 2, 1)])
def test_a_call_has_the_models_tensors(datatype: str, shape: tuple[int, ...]) -> None:
    inputs = [tensor(datatype, *shape), tensor("FP32", -1, 1, name="Y")]
    examples = tensor_examples(inputs, {})
    known = [(one["name"], one["datatype"], tuple(one["shape"])) for one in inputs]
    model: Any = SimpleNamespace(inputs=known, outputs=())
    check_inference(decode(as_json(examples).encode()), memoryview(b""), model)
    array = eval(examples[0].array, {"np": np})
    assert list(array.shape) == [max(side, 1) for side in shape]
    # What tritonclient takes for the datatype: float32 for bfloat16, which NumPy lacks.
    assert array.dtype == np.dtype(DTYPES.get(datatype, object if datatype == BYTES else "f4"))


def test_columns_have_the_schemas_values() -> None:
    (example,) = tensor_examples([tensor("FP32", -1, 8, name="FEATURES")], FRAUD_INPUT)
    assert example.values == [240.0, 3, 320, 4, 5, 0.4, 0, 90]
    array = eval(example.array, {"np": np})
    assert array.shape == (1, 8)
    assert array[0, 5] == np.float32(0.4)
    columns = [{"enum": [7, 8], "default": "7"}, {"minimum": 2}, True]
    schema = {"properties": {"X": {"items": {"prefixItems": columns}}}}
    assert tensor_examples([tensor("INT8", -1, 3)], schema)[0].values == [7, 2, 0]


def test_an_image_is_made_and_not_listed() -> None:
    examples = tensor_examples([tensor("FP32", -1, 3, 224, 224)], {})
    assert as_json(examples) == ""
    assert len(examples[0].values) == VALUES_MAX
    assert eval(examples[0].array, {"np": np}).shape == (1, 3, 224, 224)


def test_a_model_that_states_no_inputs_has_no_example() -> None:
    assert as_json(tensor_examples([], {})) == ""
