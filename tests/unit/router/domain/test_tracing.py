"""Trace context: what is passed on, what begins here, and what is not believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.tracing import SpanIds, span_ids, traceparent_of

ID = "0193a0b0-1111-7222-8333-444455556666"
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_without_tracing_the_callers_header_goes_on_as_it_came() -> None:
    assert traceparent_of(CALLER, ID, None) == (CALLER, "")
    assert traceparent_of("", ID, None) == ("", "")


def test_a_callers_trace_goes_on_with_a_span_of_its_own() -> None:
    received, parent = traceparent_of(CALLER, ID, 0.5)
    assert received == "00-0af7651916cd43dd8448eb211c80319c-8333444455556666-01"
    assert parent == "b7ad6b7169203331"


@pytest.mark.parametrize(
    "header",
    [
        "",
        CALLER.upper(),
        CALLER + "\r\nx: y",
        CALLER.replace("00-", "ff-", 1),
        CALLER.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        CALLER.replace("b7ad6b7169203331", "0" * 16),
    ],
)
def test_what_is_no_context_begins_a_trace_under_the_calls_id(header: str) -> None:
    received, parent = traceparent_of(header, ID, 1.0)
    assert received == "00-0193a0b0111172228333444455556666-8333444455556666-01"
    assert parent == ""
    assert traceparent_of(header, ID, None) == ("", "")


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False)])
def test_a_context_is_read_into_its_parts(flags: str, sampled: bool) -> None:
    found = span_ids(f"{CALLER[:-2]}{flags}")
    assert found == SpanIds("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled)
    assert span_ids("none") is None


def test_as_many_traces_are_sampled_as_were_asked_for() -> None:
    ids = [f"0193a0b0-1111-7222-8333-4444{i * 2**32 // 8 + 1:08x}" for i in range(8)]
    sampled = [traceparent_of("", id_, 0.25)[0].endswith("-01") for id_ in ids]
    assert sampled == [True, True, *[False] * 6]


@given(st.uuids(), st.floats(0.0, 1.0))
def test_a_trace_is_sampled_or_not_and_says_so(identity: object, share: float) -> None:
    ids = span_ids(traceparent_of("", str(identity), share)[0])
    assert ids is not None
    if share in (0.0, 1.0):
        assert ids.is_sampled == bool(share)
