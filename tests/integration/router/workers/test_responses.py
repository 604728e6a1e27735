"""Workers that speak OpenAI's Responses API, through a real router, by OpenAI's client.

The emulated fleet has hosted tools and encrypted thoughts; llama.cpp has a real model.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.backend import backend, get
from tests.integration.router.routers import until
from tests.ports import free_ports

KEY = "a-key"
EMULATED, REAL = "emulated/gpt-j-6b", "huggingfacetb/smollm2-135m-instruct"
WORKER = "emulated-h100-0"
TOKENS = 6
HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]
THINKS: Any = {
    "tools": [{"type": "web_search"}],
    "include": ["reasoning.encrypted_content"],
}


@pytest.fixture(scope="module")
def client(
    emulator_url: str, llama_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[openai.OpenAI]:
    folder = tmp_path_factory.mktemp("responses")
    (port,) = free_ports(1)
    speaks: dict[str, Any] = {"class": "any", "slots": 2, "responses": True}
    fleet = [
        {"id": "emulated", "url": f"{emulator_url}/{WORKER}", "model": EMULATED, **speaks},
        {"id": "real", "url": llama_url, "model": REAL, **speaks},
    ]
    (folder / "fleet.json").write_text(json.dumps(fleet))
    words = ["router", "--fleet", str(folder / "fleet.json"), "--port", str(port), "--key", KEY]
    with backend(words, f"http://127.0.0.1:{port}/readyz", folder / "log"):
        yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=0)


def streamed(client: openai.OpenAI, model: str, **asked: Any) -> tuple[list[Any], Any]:
    """The events of a stream, and the response that they make up."""
    asked = {"input": HELLO, "max_output_tokens": TOKENS, **asked}
    events: list[Any] = list(client.responses.create(model=model, stream=True, **asked))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    last = events[-1].response
    assert [event.item.id for event in events if event.type == "response.output_item.done"] == [
        item.id for item in last.output
    ]
    said = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(said) == last.output_text
    assert last.usage.model_extra["cost"] == 0
    return events, last


def test_what_no_chat_can_say_is_passed_on_in_a_conversation(client: openai.OpenAI) -> None:
    _, first = streamed(client, EMULATED, **THINKS)
    assert [item.type for item in first.output] == ["reasoning", "web_search_call", "message"]
    assert first.incomplete_details.reason == "max_output_tokens"
    assert first.usage.output_tokens == TOKENS
    # The worker takes back only what it encrypted, and stores nothing.
    second = client.responses.create(
        model=EMULATED,
        input="And?",
        previous_response_id=first.id,
        max_output_tokens=TOKENS,
        **THINKS,
    )
    assert second.usage.input_tokens > first.usage.input_tokens
    # A client that keeps the conversation itself sends the same.
    history = [*HELLO, *(item.model_dump(exclude_none=True) for item in first.output), *HELLO]
    third = client.responses.create(
        model=EMULATED, input=history, max_output_tokens=TOKENS, store=False, **THINKS
    )
    assert third.status == "incomplete"
    assert client.responses.retrieve(second.id).output_text == second.output_text


def test_who_leaves_stops_the_worker(client: openai.OpenAI, emulator_url: str) -> None:
    def cancelled() -> int:
        count: int = get(f"{emulator_url}/{WORKER}/emulator").json()["cancelled"]
        return count

    before = cancelled()
    stream = client.responses.create(
        model=EMULATED, input=HELLO, stream=True, max_output_tokens=1_000
    )
    with contextlib.closing(stream):
        next(event for event in stream if event.type == "response.output_text.delta")
    until(lambda: cancelled() == before + 1)


def test_a_real_models_responses_are_passed_on(client: openai.OpenAI) -> None:
    events, first = streamed(client, REAL, temperature=0, instructions="Be brief.")
    assert first.output_text
    assert 0 < first.usage.output_tokens <= TOKENS
    assert sum(event.type == "response.output_text.delta" for event in events) > 1
    second = client.responses.create(
        model=REAL,
        input="And then?",
        previous_response_id=first.id,
        max_output_tokens=TOKENS,
        temperature=0,
    )
    assert second.output_text
    assert second.usage.input_tokens > first.usage.input_tokens
