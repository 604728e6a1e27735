"""The cases of Open Responses' compliance suite, asked over plain HTTP and checked by its rules.

The suite itself is TypeScript that is not published as a package. Every response must have the
fields that its schema requires, and be one for OpenAI's own models; every event, too.
"""

import json
import sys
from typing import Any

import httpx
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

REQUIRED = (
    *("id", "object", "created_at", "completed_at", "status", "incomplete_details", "model"),
    *("previous_response_id", "instructions", "output", "error", "tools", "tool_choice"),
    *("truncation", "parallel_tool_calls", "text", "top_p", "presence_penalty"),
    *("frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage"),
    *("max_output_tokens", "max_tool_calls", "store", "background", "service_tier", "metadata"),
    *("safety_identifier", "prompt_cache_key"),
)
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)
TOOLS = [
    {
        "type": "function",
        "name": "get_weather",
        "description": "Get the current weather for a location",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}},
            "required": ["location"],
        },
    }
]


def said(role: str, content: Any) -> dict[str, Any]:
    """An item that is a message."""
    return {"type": "message", "role": role, "content": content}


LOOK = [
    {"type": "input_text", "text": "What is this?"},
    {"type": "input_image", "image_url": PIXEL},
]
CASES: dict[str, tuple[dict[str, Any], str, bool]] = {
    "basic-response": ({"input": [said("user", "Say hello.")]}, "message", False),
    "streaming-response": ({"input": [said("user", "Count to 5.")]}, "message", True),
    "system-prompt": (
        {"input": [said("system", "You are a pirate."), said("user", "Say hello.")]},
        "message",
        False,
    ),
    "tool-calling": (
        {"input": [said("user", "The weather?")], "tools": TOOLS},
        "function_call",
        False,
    ),
    "tool-calling-streaming": (
        {"input": [said("user", "The weather?")], "tools": TOOLS},
        "function_call",
        True,
    ),
    "image-input": ({"input": [said("user", LOOK)]}, "message", False),
    "multi-turn": (
        {
            "input": [
                said("user", "I am Alice."),
                said("assistant", "Hello Alice!"),
                said("user", "Who am I?"),
            ]
        },
        "message",
        False,
    ),
}


def streamed(text: str) -> dict[str, Any]:
    """The last response of a stream whose events are all as they should be."""
    blocks = [block for block in text.split("\n\n") if block]
    assert blocks.pop() == "data: [DONE]"
    found = []
    for number, block in enumerate(blocks):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        EVENT.validate_python(event)
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        found.append(event)
    last: dict[str, Any] = found[-1]["response"]
    if any(item["type"] == "function_call" for item in last["output"]):
        types = {event["type"] for event in found}
        assert {f"response.function_call_arguments.{end}" for end in ("delta", "done")} <= types
    return last


def main(base_url: str, key: str, model: str) -> None:
    """Run the cases."""
    headers = {"Authorization": f"Bearer {key}"}
    for name, (fields, kind, streams) in CASES.items():
        body = {"model": model, "stream": streams, **fields}
        answer = httpx.post(f"{base_url}/responses", json=body, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        response = streamed(answer.text) if streams else answer.json()
        assert not [field for field in REQUIRED if field not in response]
        Response.model_validate(response)
        assert response["status"] == "completed"
        assert kind in [item["type"] for item in response["output"]]
        print(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
