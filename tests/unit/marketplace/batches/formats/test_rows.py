"""Rows of a CSV file become tensors, and what comes back becomes columns."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.batches.formats import rows
from marketplace.batches.formats.outputs import (
    appended,
    header_of,
    names_of,
    output_columns,
    outputs_of,
)
from marketplace.batches.formats.rows import (
    RowsInvalid,
    arrays_of,
    body_of,
    columns_of,
    packed,
    pieces,
    row_bytes,
    table_of,
    unpacked,
)

AMOUNTS = {"name": "AMOUNTS", "datatype": "FP32", "shape": [-1, 2]}
COUNT = {"name": "COUNT", "datatype": "INT8", "shape": [-1]}
NOTE = {"name": "NOTE", "datatype": "BYTES", "shape": [-1, 1]}
SCHEMA = {
    "properties": {
        "AMOUNTS": {"items": {"prefixItems": [{"title": "usd"}, {"title": "km"}]}},
    }
}
OUT_N = {"name": "N", "datatype": "INT32", "shape": [-1, 2]}
OUT_P = {"name": "P", "datatype": "FP32", "shape": [-1, 1]}
OUT_T = {"name": "T", "datatype": "BYTES", "shape": [-1]}
ALL = {"inputs": [AMOUNTS, COUNT, NOTE]}


def table(header: bytes = b"id,km,usd,COUNT,NOTE\n", tensors: Any = ALL) -> rows.Table:
    return table_of(header, tensors, SCHEMA)


def tensors(made: rows.Table, text: bytes) -> tuple[bytes, dict[str, str]]:
    return body_of(made, arrays_of(made, text))


def test_columns_are_found_by_name_in_any_order_beside_others() -> None:
    made = table()
    body, headers = tensors(made, b'7,1.5,2,3,"a, b"\r\n8,2.5,4,-5,c\n')
    at = int(headers["Inference-Header-Content-Length"])
    amounts, count, note = msgspec.json.decode(body[:at])["inputs"]
    assert (amounts["shape"], count["shape"], note["shape"]) == ([2, 2], [2], [2, 1])
    assert note["data"] == ["a, b", "c"]
    assert np.frombuffer(body[at : at + 16], np.float32).tolist() == [2, 1.5, 4, 2.5]
    assert np.frombuffer(body[at + 16 :], np.int8).tolist() == [3, -5]


@pytest.mark.parametrize("separator", [b",", b";", b"\t"])
def test_the_header_says_what_separates(separator: bytes) -> None:
    header = b"\xef\xbb\xbf" + separator.join([b"usd", b"km"]) + b"\n"
    made = table(header, {"inputs": [AMOUNTS]})
    assert made.cells_of(separator.join([b"1", b"2"])) == ["1", "2"]
    line = separator.join([b"1", b"2"])
    assert appended(made, line + b"\r\n", [[b"x"]]) == separator.join([line, b"x\n"])


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"usd,km,COUNT\n", "invalid_header"),
        (b"usd,km,COUNT,NOTE,usd\n", "invalid_header"),
        (b"\xff\n", "invalid_header"),
    ],
)
def test_a_header_that_lacks_something_is_refused(header: bytes, code: str) -> None:
    with pytest.raises(RowsInvalid) as refused:
        table(header)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "tensor",
    [
        {"name": "X", "datatype": "FP32", "shape": [-1, 3, 8, 8]},
        {"name": "X", "datatype": "FP32", "shape": [4, 2]},
        {"name": "X", "datatype": "FP32", "shape": [-1, -1]},
        {"name": "X", "datatype": "BF16", "shape": [-1, 1]},
    ],
)
def test_a_model_whose_inputs_are_not_rows_is_refused(tensor: dict[str, Any]) -> None:
    with pytest.raises(RowsInvalid, match="not made of rows"):
        columns_of(tensor, {})


@pytest.mark.parametrize("line", [b"1,2,3", b"1,2,3,4,5,6", b'1,2,3,4,"x', b"\xff,2,3,4,5"])
def test_a_row_of_another_width_or_that_goes_on_is_refused(line: bytes) -> None:
    with pytest.raises(RowsInvalid):
        table().cells_of(line)


@pytest.mark.parametrize(
    "line",
    [b"0,x,2,3,n", b"0,,2,3,n", b"0,nan,2,3,n", b"0,1e999,2,3,n", b"0,1,2,128,n", b"0,1,2,1.5,n"],
)
def test_a_cell_that_does_not_fit_is_refused_with_its_row(line: bytes) -> None:
    made = table()
    good, narrow = b"0,1,2,3,n", b"0,1"
    with pytest.raises(RowsInvalid) as refused:
        tensors(made, b"".join(item + b"\n" for item in (good, good, line, good, narrow)))
    assert (refused.value.code, refused.value.row) == ("invalid_row", 2)


CELLS = st.one_of(
    st.floats(width=32).map(repr),
    st.floats().map(repr),
    st.sampled_from(
        ["", " 2 ", "\t3", "1_0", "x", "+.5", "1e39", "0x1", "#", "१", "1 2", "\ufeff1"]
    ),
)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=4), st.sampled_from(["\n", "\r\n"]))
def test_floats_are_the_same_beside_quotes_which_are_read_another_way(
    pairs: list[tuple[str, str]], end: str
) -> None:
    made = table(b"id,km,usd", {"inputs": [AMOUNTS]})

    def read(name: str) -> object:
        try:
            return tensors(made, "".join(f"{name},{km},{usd}{end}" for km, usd in pairs).encode())
        except RowsInvalid as error:
            return error.code, error.row

    assert read("a") == read('"a"')


@pytest.mark.parametrize("inputs", [[AMOUNTS, COUNT], [AMOUNTS]])
def test_rows_that_were_checked_are_the_same_tensors_again(inputs: list[Any]) -> None:
    made = table(b"id,km,usd,COUNT", {"inputs": inputs})
    arrays = arrays_of(made, b"a,1,2,3\nb,4,5.5,-6\n")
    raw = packed(arrays)
    assert len(raw) == 2 * row_bytes(made)
    again = unpacked(made, raw)
    assert [(item.dtype, item.tolist()) for item in again] == [
        (array.dtype, array.tolist()) for array in arrays
    ]
    assert row_bytes(table()) == 0, "texts have no one size"


def test_truths_are_words_or_digits() -> None:
    flag = {"name": "FLAG", "datatype": "BOOL", "shape": [-1]}
    made = table_of(b"FLAG", {"inputs": [flag]}, {})
    body, headers = tensors(made, b"true\n0\nFalse\n1\n")
    assert body[int(headers["Inference-Header-Content-Length"]) :] == b"\1\0\0\1"
    with pytest.raises(RowsInvalid):
        tensors(made, b"yes\n")


def test_outputs_become_columns_whether_binary_or_not() -> None:
    tail = np.array([[0.25], [0.1]], np.float32).tobytes() + b"\3\0\0\0a,b\1\0\0\0c"
    head = msgspec.json.encode(
        {
            "outputs": [
                {
                    "name": "P",
                    "datatype": "FP32",
                    "shape": [2, 1],
                    "parameters": {"binary_data_size": 8},
                },
                {
                    "name": "T",
                    "datatype": "BYTES",
                    "shape": [2],
                    "parameters": {"binary_data_size": 12},
                },
                {"name": "N", "datatype": "INT32", "shape": [2, 2], "data": [1, 2, 3, 4]},
            ]
        }
    )
    columns = output_columns({"outputs": [OUT_N, OUT_P, OUT_T]})
    assert names_of(columns) == ["N[0]", "N[1]", "P", "T"]
    found = outputs_of(head + tail, str(len(head)), 2, columns, ",")
    assert found == [[b"1", b"3"], [b"2", b"4"], [b"0.25", b"0.1"], [b'"a,b"', b"c"]]
    made = table(b"usd,km", {"inputs": [AMOUNTS]})
    assert header_of(made, columns) == b"usd,km,N[0],N[1],P,T\n"
    assert appended(made, b"1,2\n3,4\n", found) == b'1,2,1,2,0.25,"a,b"\n3,4,3,4,0.1,c\n'


def test_an_answer_with_another_count_of_rows_is_no_answer() -> None:
    body = msgspec.json.encode(
        {"outputs": [{"name": "P", "datatype": "FP32", "shape": [3], "data": [1, 2, 3]}]}
    )
    with pytest.raises(ValueError, match="reshape"):
        outputs_of(body, None, 2, [("P", 1)], ",")
    with pytest.raises(KeyError):
        outputs_of(body, None, 3, [("Q", 1)], ",")


def test_a_model_whose_outputs_are_not_rows_is_refused() -> None:
    with pytest.raises(RowsInvalid, match="output"):
        output_columns({"outputs": [{"name": "X", "datatype": "FP32", "shape": [1, 2]}]})


@given(st.integers(1, 20_000), st.integers(1, 600), st.integers(1, 64))
def test_pieces_have_every_row_once_and_never_grow(total: int, most: int, at_once: int) -> None:
    found = list(pieces(total, most, at_once))
    counts = [count for _, count in found]
    assert sum(counts) == total
    assert counts == sorted(counts, reverse=True)
    assert max(counts) <= most
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert found == list(pieces(total, most, at_once))


def test_the_last_pieces_are_small() -> None:
    counts = [count for _, count in pieces(1_000_000, 256, 8)]
    assert counts[0] == 256
    assert counts[-8:] == [32] * 7 + [counts[-1]]
    assert len(counts) < 4_000


def test_the_last_pieces_of_large_ones_are_worth_a_call() -> None:
    counts = [count for _, count in pieces(1_000_000, 4_096, 27)]
    assert counts[-8:] == [512] * 7 + [counts[-1]]
    assert len(counts) < 500
