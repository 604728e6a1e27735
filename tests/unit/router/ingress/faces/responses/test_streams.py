"""What a stream of chunks becomes on its way out."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from router.domain.errors import StreamBroken
from router.ingress.faces.responses.answer import ResponseStream
from tests.unit.router.ingress.faces.responses.wire import chunk, piece, resource, told, usage_chunk


def test_a_stream_tells_every_event_in_its_order() -> None:
    events = told(
        [
            chunk(role="assistant", content=""),
            chunk(reasoning_content="h") + chunk(reasoning_content="m"),
            chunk(content="hel"),
            chunk(content="lo"),
            chunk(tool_calls=[piece(0, "c1", "weather", "")]),
            chunk(tool_calls=[piece(0, None, None, "{}")]),
            chunk("tool_calls"),
            usage_chunk(),
        ]
    )
    part = ("response.content_part.added", "response.content_part.done")
    item = ("response.output_item.added", "response.output_item.done")
    assert [event.type for event in events] == [
        *("response.created", "response.in_progress"),
        *(item[0], part[0]),
        *["response.reasoning_text.delta"] * 2,
        *("response.reasoning_text.done", part[1], item[1]),
        *(item[0], part[0]),
        *["response.output_text.delta"] * 2,
        *("response.output_text.done", part[1], item[1]),
        item[0],
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        item[1],
        "response.completed",
    ]
    end = events[-1].response
    assert [item.type for item in end.output] == ["reasoning", "message", "function_call"]
    assert end.output_text == "hello"
    assert end.usage.total_tokens == 13


SAID = st.one_of(
    st.builds(lambda text: {"content": text}, st.text(min_size=1, max_size=3)),
    st.builds(lambda text: {"reasoning": text}, st.text(min_size=1, max_size=3)),
    st.builds(lambda text: {"refusal": text}, st.text(min_size=1, max_size=3)),
    st.builds(
        lambda index, text: {"tool_calls": [piece(index, f"c{index}", "f", text)]},
        st.integers(0, 2),
        st.sampled_from(["{", "}", '"a":1', ""]),
    ),
)


@given(st.lists(SAID, max_size=12), st.sampled_from(["stop", "length", "tool_calls"]))
def test_whatever_a_worker_says_its_events_make_up_the_response(
    said: list[dict[str, Any]], finish: str
) -> None:
    events = told([*(chunk(**fields) for fields in said), chunk(finish), usage_chunk()])
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    done = [event.item for event in events if event.type == "response.output_item.done"]
    added = [event.item for event in events if event.type == "response.output_item.added"]
    end = events[-1].response
    assert done == end.output
    assert [item.id for item in added] == [item.id for item in done]
    heard: dict[str, str] = {item.id: "" for item in added}
    now = ""
    for event in events[2:-1]:
        if event.type == "response.output_item.added":
            assert not now
            now = event.item.id
        elif event.type == "response.output_item.done":
            assert event.item.id == now
            now = ""
        else:
            assert event.item_id == now
            if event.type.endswith(".delta"):
                heard[now] += event.delta
    for item in end.output:
        part = item.content[0] if item.type != "function_call" else None
        text = item.arguments if part is None else getattr(part, "text", None) or part.refusal
        assert heard[item.id] == text


def test_a_stream_that_breaks_ends_as_failed() -> None:
    stream = ResponseStream(resource())
    text = stream.feed(chunk(content="he")) + stream.end(StreamBroken("it failed"))
    last = json.loads(text.split(b"\n\n")[-2].split(b"data: ")[1])
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {"code": "worker_failed", "message": "it failed"}
    assert last["response"]["output"][0]["content"][0]["text"] == "he"
    assert not text.endswith(b"[DONE]\n\n")
    silent = ResponseStream(resource()).end(StreamBroken("it failed"))
    assert silent.startswith(b"event: error\n")
