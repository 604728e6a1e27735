"""What a request of OpenAI's Responses API becomes on its way in."""

import gc
import json
import time
from typing import Any

import msgspec
import pytest

from router.domain.errors import RequestInvalid
from router.ingress.faces.chat import SHAPE
from router.ingress.faces.face import Arrival
from router.ingress.faces.openai import parse_call
from router.ingress.faces.responses.request import read_request
from tests.unit.router.ingress.faces.responses.wire import ASK, TOOL, WEATHER, chat


def test_a_text_is_a_chat_call() -> None:
    made = chat(
        instructions="be brief",
        temperature=0.5,
        top_k=3,
        max_output_tokens=9,
        metadata={"a": "b"},
        include=["reasoning.encrypted_content"],
        truncation="disabled",
        store=False,
        reasoning={"effort": "low", "summary": "auto"},
        stream=True,
        provider={"sort": "price"},
    )
    assert made == {
        "model": "a/m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi"},
        ],
        "temperature": 0.5,
        "top_k": 3,
        "max_tokens": 9,
        "reasoning_effort": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
        "provider": {"sort": "price"},
    }


def test_items_find_their_places_in_a_chat() -> None:
    image = {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"}
    items = [
        {"role": "developer", "content": "use tools"},
        {"role": "user", "content": [{"type": "input_text", "text": "a"}, image]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": []},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "let me see", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sun"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "see"}, image],
        },
        {"role": "user", "content": "and now?"},
    ]
    function = {"name": "weather", "arguments": "{}"}
    shown = {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}
    assert chat(instructions="be brief", input=items)["messages"] == [
        {"role": "system", "content": "be brief\n\nuse tools"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, shown]},
        {
            "role": "assistant",
            "content": "let me see",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": function},
                {"id": "c2", "type": "function", "function": function},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
        {"role": "tool", "tool_call_id": "c2", "content": "see"},
        {"role": "user", "content": [shown]},
        {"role": "user", "content": "and now?"},
    ]


def test_tools_choices_and_formats_are_translated() -> None:
    function = {"name": "weather", "parameters": WEATHER, "strict": True}
    other = {"type": "function", "name": "other"}
    made = chat(tools=[TOOL], tool_choice={"type": "function", "name": "weather"})
    assert made["tools"] == [{"type": "function", "function": function}]
    assert made["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert chat(tools=[TOOL], tool_choice="required")["tool_choice"] == "required"
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [other]}
    made = chat(tools=[TOOL, other], tool_choice=allowed)
    assert [tool["function"]["name"] for tool in made["tools"]] == ["other"]
    assert made["tool_choice"] == "required"
    wanted = {"type": "json_schema", "name": "w", "schema": WEATHER, "strict": True}
    schema = {"name": "w", "schema": WEATHER, "strict": True}
    made = chat(text={"format": wanted, "verbosity": "low"})
    assert made["response_format"] == {"type": "json_schema", "json_schema": schema}
    assert made["verbosity"] == "low"
    assert "response_format" not in chat(text={"format": {"type": "text"}})
    assert chat(top_logprobs=2)["top_logprobs"] == 2
    assert chat(include=["message.output_text.logprobs"])["logprobs"] is True


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"input": None}, "input", "input is missing"),
    ({"input": []}, "input", "input is missing"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input", "robot"),
    ({"input": [{"role": "user"}]}, "input", r"input\[0\].content is missing"),
    ({"input": [{"type": "function_call", "name": "x"}]}, "input", "call_id"),
    ({"input": [{"type": "function_call_output", "call_id": "x"}]}, "input", "output"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input", "msg_1"),
    ({"tools": [{"type": "function"}]}, "tools", "name"),
    ({"tools": [{"type": "function", "name": "x", "parameters": "{"}]}, "tools", "parameters"),
    ({"tool_choice": "some"}, "tool_choice", "some"),
    ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text", "schema"),
    ({"max_output_tokens": 0}, "max_output_tokens", "at least 1"),
    ({"conversation": "conv_1"}, "conversation", "not kept"),
    ({"truncation": "some"}, "truncation", "auto or disabled"),
]
UNSAID: list[tuple[dict[str, Any], str, str]] = [
    ({"input": [{"type": "web_search_call"}]}, "input", "web_search_call"),
    ({"input": [{"role": "user", "content": [{"type": "video"}]}]}, "input", "video"),
    ({"tools": [{"type": "web_search"}]}, "tools", "web_search"),
    ({"tool_choice": {"type": "mcp"}}, "tool_choice", "mcp"),
    ({"text": {"format": {"type": "xml"}}}, "text", "xml"),
    (
        {"input": [{"type": "computer_call_output", "call_id": "c", "output": {"type": "x"}}]},
        "input",
        "computer_call_output",
    ),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input",
        "input_image",
    ),
]


@pytest.mark.parametrize(("fields", "param", "says"), BAD)
def test_what_cannot_be_translated_is_named(fields: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(RequestInvalid, match=says) as refused:
        chat(**fields)
    assert refused.value.param == param


@pytest.mark.parametrize(("fields", "param", "says"), UNSAID)
def test_what_no_chat_can_say_is_named_and_stays_in_the_response(
    fields: dict[str, Any], param: str, says: str
) -> None:
    read = read_request(msgspec.json.encode(ASK | fields))
    assert says in read.as_response.unsaid
    assert read.as_response.param == param
    assert {name: msgspec.json.decode(read.as_response.fields[name]) for name in fields} == fields
    parse_call(SHAPE, read.chat, Arrival("r", 0.0, 0))


def shortened_to(tokens: int, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    body = msgspec.json.encode(
        ASK | {"input": items, "instructions": "s", "truncation": "auto", "max_output_tokens": 100}
    )
    asked_of: list[str] = []
    read = read_request(body, context_of=lambda model: asked_of.append(model) or 100 + tokens)
    assert asked_of == ["a/m"]
    return list(json.loads(read.chat)["messages"])


def test_a_conversation_is_shortened_from_its_beginning() -> None:
    items = [
        {"role": "user", "content": "x" * 400},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '"' + "y" * 400 + '"'},
        {"type": "function_call_output", "call_id": "c1", "output": "z"},
        {"role": "user", "content": "w" * 400},
    ]
    assert [message["role"] for message in shortened_to(1_000, items)] == [
        *("system", "user", "assistant", "tool", "user")
    ]
    assert [message["role"] for message in shortened_to(290, items)] == [
        *("system", "assistant", "tool", "user")
    ]
    # A result goes with its call, though it would fit.
    assert [message["role"] for message in shortened_to(150, items)] == ["system", "user"]
    assert [message["role"] for message in shortened_to(1, items)] == ["system", "user"]
    assert chat(truncation="auto")["messages"] == [{"role": "user", "content": "hi"}]


def test_instructions_after_a_message_of_parts_are_one_of_their_own() -> None:
    image = {"type": "input_image", "image_url": "https://x/y.png"}
    items = [{"role": "system", "content": said} for said in ([image], "a", "b")]
    assert [message["content"] for message in chat(input=items)["messages"]] == [
        [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}],
        "a\n\nb",
    ]


@pytest.mark.parametrize(
    ("items", "times"),
    [
        ([{"role": "user", "content": "x"}, {"role": "system", "content": "x"}], 500),
        ([{"role": "system", "content": "x" * 20}], 4_000),
        ([{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}], 4_000),
    ],
)
def test_no_number_of_items_makes_a_request_slow(items: list[dict[str, Any]], times: int) -> None:
    """Sixteen times the items take about sixteen times as long, not two hundred and fifty-six."""
    once = min(_seconds(items * times) for _ in range(5))
    assert min(_seconds(items * times * 16) for _ in range(3)) < once * 16 * 4


def _seconds(items: list[dict[str, Any]]) -> float:
    body = msgspec.json.encode(ASK | {"input": items, "truncation": "auto"})
    # The collector would look through all that the tests before have left.
    gc.disable()
    try:
        begun = time.process_time()
        read_request(body, context_of=lambda _: 100)
        return time.process_time() - begun
    finally:
        gc.enable()
