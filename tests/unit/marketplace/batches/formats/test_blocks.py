"""Lines by the block are the lines that are read one by one."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.batches.formats import blocks
from marketplace.batches.formats.blocks import Reader
from marketplace.batches.formats.lines import numbered

LINES = st.sampled_from([b"", b" ", b"\t\r", b"a", b" b", b"1,2", b"x" * 30])


@given(
    st.lists(LINES, max_size=30),
    st.booleans(),
    st.integers(1, 40),
    st.lists(st.integers(0, 7), min_size=1, max_size=20),
)
def test_every_line_with_something_in_it_comes_once_with_its_number(
    lines: list[bytes], ends: bool, chunk_bytes: int, counts: list[int]
) -> None:
    text = b"\n".join(lines) + (b"\n" if ends else b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "CHUNK_BYTES", chunk_bytes)
        reader = Reader(io.BytesIO(text))
        taken = [reader.take(count) for count in [*counts, len(lines)]]
    found = [
        (int(number), line)
        for block in taken
        for number, line in zip(block.numbers, block.lines(), strict=True)
    ]
    wanted = [(number, line.rstrip(b"\n")) for number, line in numbered(io.BytesIO(text))]
    assert found == wanted[: len(found)]
    assert len(found) == len(wanted) or len(found) >= sum(counts)
    assert all(
        len(block) <= count for block, count in zip(taken, [*counts, len(lines)], strict=True)
    )


def test_a_line_without_end_is_cut_and_still_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 100)
    reader = Reader(io.BytesIO(b"a\n" + b"x" * 10_000 + b"\nb\n"), line_bytes_max=50)
    block = reader.take(5)
    assert block.numbers.tolist() == [1, 2, 3]
    assert block.longer(50) == [1]
    assert len(block.text) < 300
    left = block.up_to(50)
    assert (left.lines(), left.numbers.tolist()) == ([b"a", b"b"], [1, 3])


def test_what_is_behind_a_line_keeps_its_numbers() -> None:
    block = Reader(io.BytesIO(b"a\n\nb\nc\nd")).take(9)
    left = block.after(1)
    assert (left.text, left.numbers.tolist()) == (b"c\nd\n", [4, 5])
