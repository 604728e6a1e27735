"""Lets Triton's Python backend, whose stub was built for NumPy 1, live with NumPy 2.

Loaded inside the stub. Its pybind11 (2.10) reads the size of an array's items where NumPy 1 keeps
it; NumPy 2 has zero there. Two things go through it: the strides that a request's arrays are made
with, and how many bytes an array of an answer has. Strides are left to NumPy, by way of its C
API's table, which the stub looks up once, at its first array. Answers are handed over by DLPack.
"""

import ctypes
import types
from importlib import import_module
from typing import Any, cast

import numpy as np

# Where the stub looks; the attribute of `numpy.core` of that name warns.
multiarray: Any = import_module("numpy.core.multiarray")

NEW_FROM_DESCR = 94
"""Where the table of NumPy's C API has ``PyArray_NewFromDescr``; part of NumPy's ABI."""
TABLE_LENGTH = 304
"""Entries that NumPy 1 has, and so all that the stub may read."""

_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.argtypes, _pointer_of.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p
_capsule = ctypes.pythonapi.PyCapsule_New
_capsule.argtypes, _capsule.restype = [ctypes.c_void_p] * 3, ctypes.py_object
_set_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
_set_destructor.argtypes = [ctypes.py_object, ctypes.c_void_p]

# (type, descr, dimensions, shape, strides, data, flags, prototype) -> array. Addresses throughout:
# references are the caller's and NumPy's to count.
_NewFromDescr = ctypes.PYFUNCTYPE(
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int),
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p),
)
_numpy_table = (ctypes.c_void_p * TABLE_LENGTH).from_address(
    _pointer_of(multiarray._ARRAY_API, None)
)
_numpy_new_from_descr = _NewFromDescr(cast("int", _numpy_table[NEW_FROM_DESCR]))
_table = type(_numpy_table)(*_numpy_table)


def _without_strides(
    subtype: int,
    descr: int,
    dimensions: int,
    shape: int,
    _strides: int,
    data: int,
    flags: int,
    prototype: int,
) -> int:
    return cast(
        "int",
        _numpy_new_from_descr(subtype, descr, dimensions, shape, None, data, flags, prototype),
    )


_new_from_descr = _NewFromDescr(_without_strides)


class _Export:
    """An array's DLPack capsule whose memory the stub gives back by itself."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = np.require(array, requirements=["C", "W"])

    def __dlpack__(self, **options: object) -> object:
        capsule = self._array.__dlpack__()
        # The stub calls the tensor's deleter, but does not mark the capsule as NumPy expects.
        _set_destructor(capsule, None)
        return capsule

    def __dlpack_device__(self) -> tuple:
        return self._array.__dlpack_device__()


def _tensor_for_numpy2(stub_tensor: Any) -> type:
    class Tensor:
        """Triton's ``Tensor``, made of numbers: ``Tensor(name, array)``."""

        from_dlpack = stub_tensor.from_dlpack

        def __new__(cls, name: str, array: np.ndarray) -> Any:
            if array.dtype.kind in "OSU":
                raise TypeError(f"tensor {name!r}: Triton's stub returns no strings under NumPy 2")
            return stub_tensor.from_dlpack(name, _Export(array))

    return Tensor


class Utils(types.ModuleType):
    """``triton_python_backend_utils``, where the stub puts its own classes once it is loaded."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, _tensor_for_numpy2(value) if name == "Tensor" else value)


def install(utils: types.ModuleType) -> None:
    """Mend ``triton_python_backend_utils``, before the stub puts its own classes there."""
    _table[NEW_FROM_DESCR] = ctypes.cast(_new_from_descr, ctypes.c_void_p).value
    multiarray._ARRAY_API = _capsule(ctypes.addressof(_table), None, None)
    utils.__class__ = Utils
