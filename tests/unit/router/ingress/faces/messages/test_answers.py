"""What a completion becomes on its way out."""

import json
from typing import Any

import msgspec
import pytest

from router.ingress.faces.messages.answer import message_of
from tests.unit.router.ingress.faces.messages.wire import ID


def test_a_completion_is_a_message() -> None:
    import anthropic

    function = {"name": "add", "arguments": '{"a": 1}'}
    said = {
        "content": "hello",
        "reasoning_content": "hm",
        "tool_calls": [{"id": "t1", "type": "function", "function": function}],
    }
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 5},
        "cost": 0.25,
    }
    body = {
        "model": "a/m",
        "choices": [{"message": said, "finish_reason": "tool_calls"}],
        "usage": usage,
    }
    message = anthropic.types.Message.model_validate_json(
        message_of(msgspec.json.encode(body), ID), strict=True
    )
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert (message.id, message.stop_reason) == ("msg_0192ab", "tool_use")
    assert message.usage.input_tokens == 4
    assert message.usage.cache_read_input_tokens == 5
    assert message.usage.output_tokens == 4
    assert message.usage.model_extra == {"cost": 0.25}


@pytest.mark.parametrize(
    ("choice", "reason", "sequence"),
    [
        ({"finish_reason": "stop"}, "end_turn", None),
        ({"finish_reason": "length"}, "max_tokens", None),
        ({"finish_reason": "stop", "stop_reason": "X"}, "stop_sequence", "X"),
        ({"finish_reason": "content_filter"}, "refusal", None),
    ],
)
def test_why_it_ended_is_told_in_anthropics_words(
    choice: dict[str, Any], reason: str, sequence: str | None
) -> None:
    body = msgspec.json.encode({"choices": [{"message": {"content": "x"}, **choice}]})
    message = json.loads(message_of(body, ID))
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)


def test_a_whole_message_that_calls_a_tool_stops_for_that() -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    said = {"content": None, "tool_calls": [call]}
    whole = {"choices": [{"message": said, "finish_reason": "stop"}]}
    assert json.loads(message_of(json.dumps(whole).encode(), "r"))["stop_reason"] == "tool_use"
