"""W3C trace context (https://www.w3.org/TR/trace-context/): which trace a call belongs to.

The id of a call's span is the last 16 digits of its request id. A trace that begins here has the
whole request id as its id. So each of the ids leads to the others.
"""

import re

from msgspec import Struct

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class SpanIds(Struct, frozen=True, gc=False):
    """A span as lower-case hexadecimal digits: 32 of its trace, 16 of its own and its parent's."""

    trace_id: str
    span_id: str
    is_sampled: bool


def traceparent_of(incoming: str, request_id: str, share: float | None) -> tuple[str, str]:
    """What to tell workers, and the caller's span id ("" when the trace begins here).

    With ``share`` None nothing is traced here, and the caller's header goes on as it came.
    Otherwise the caller decides whether its trace is sampled, and ``share`` of the calls without
    one are sampled. An invalid header counts as none.
    """
    known = _TRACEPARENT.fullmatch(incoming) is not None
    if share is None:
        return (incoming if known else ""), ""
    digits = request_id.replace("-", "")
    if known:
        return f"{incoming[:36]}{digits[-16:]}{incoming[52:]}", incoming[36:52]
    sampled = int(digits[-8:], 16) < share * 2**32
    return f"00-{digits}-{digits[-16:]}-{sampled:02x}", ""


def span_ids(traceparent: str) -> SpanIds | None:
    """The ids in a ``traceparent``, None where it is not valid."""
    if not _TRACEPARENT.fullmatch(traceparent):
        return None
    return SpanIds(traceparent[3:35], traceparent[36:52], bool(int(traceparent[53:], 16) & 1))
