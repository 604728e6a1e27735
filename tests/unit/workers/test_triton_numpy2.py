"""What a model that Triton runs under NumPy 2 may answer with."""

import types

import numpy as np
import pytest

from workers.backends.triton import numpy2


class StubTensor:
    """Stands for the stub's own class, which takes arrays by DLPack only."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self.name, self.array = name, array

    @staticmethod
    def from_dlpack(name: str, array: object) -> "StubTensor":
        return StubTensor(name, np.from_dlpack(array))


@pytest.fixture
def utils() -> types.ModuleType:
    module = types.ModuleType("triton_python_backend_utils")
    module.__class__ = numpy2.Utils
    module.Tensor = StubTensor
    return module


def test_an_array_is_handed_over_in_order(utils: types.ModuleType) -> None:
    tensor = utils.Tensor("OUT", np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::-1])
    assert tensor.name == "OUT"
    assert tensor.array.tolist() == [[2, 1, 0], [5, 4, 3]]


def test_an_array_that_may_not_be_written_is_handed_over_too(utils: types.ModuleType) -> None:
    assert utils.Tensor("OUT", np.broadcast_to(np.int32(7), (2,))).array.tolist() == [7, 7]


def test_strings_are_refused_by_name(utils: types.ModuleType) -> None:
    with pytest.raises(TypeError, match="returns no strings"):
        utils.Tensor("OUT", np.array([b"text"], object))
