"""What a request of Anthropic's Messages API becomes on its way in."""

from typing import Any

import pytest

from router.domain.errors import RequestInvalid
from tests.unit.router.ingress.faces.messages.wire import chat


def test_a_plain_message_is_a_chat_call() -> None:
    made = chat(
        system="be brief",
        temperature=0.5,
        top_k=3,
        stop_sequences=["X"],
        metadata={"user_id": "u"},
        stream=True,
    )
    assert made == {
        "model": "a/m",
        "max_tokens": 9,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi"},
        ],
        "temperature": 0.5,
        "top_k": 3,
        "stop": ["X"],
        "user": "u",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_text_images_tools_and_results_find_their_places() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}}
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "2"}],
    }
    png = {"type": "base64", "media_type": "image/png", "data": "QUJD"}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, call]},
        {
            "role": "user",
            "content": [
                result,
                {**result, "tool_use_id": "t2", "is_error": True, "content": "no"},
                {**result, "tool_use_id": "t3", "content": [{"type": "image", "source": png}]},
                {"type": "text", "text": "and this?"},
                {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
            ],
        },
    ]
    function = {"name": "add", "arguments": '{"a":1}'}
    assert chat(system=[{"type": "text", "text": "s"}], messages=messages)["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a\nb"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "t1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "2"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: no"},
        {"role": "tool", "tool_call_id": "t3", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                {"type": "text", "text": "and this?"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("choice", "becomes"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "add", "disable_parallel_tool_use": True},
            {
                "tool_choice": {"type": "function", "function": {"name": "add"}},
                "parallel_tool_calls": False,
            },
        ),
    ],
)
def test_tools_and_the_choice_among_them_are_translated(choice: dict, becomes: dict) -> None:
    tool = {"name": "add", "description": "adds", "input_schema": {"type": "object"}}
    made = chat(tools=[tool], tool_choice=choice)
    function = {"name": "add", "description": "adds", "parameters": {"type": "object"}}
    assert made["tools"] == [{"type": "function", "function": function}]
    assert {name: made[name] for name in becomes} == becomes


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user"}]}, "content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "text"),
        ({"messages": [{"role": "user", "content": [{"type": "video", "source": {}}]}]}, "video"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "web_search"),
        ({"tool_choice": {"type": "some"}}, "some"),
    ],
)
def test_what_cannot_be_translated_is_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestInvalid, match=says):
        chat(**fields)
