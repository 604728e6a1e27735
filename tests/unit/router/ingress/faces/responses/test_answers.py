"""What a completion becomes on its way out."""

import json

import msgspec
import pytest

from router.ingress.faces.responses.answer import response_of
from tests.unit.router.ingress.faces.responses.wire import TOOL, chunk, resource, told, whole


def test_a_completion_is_a_response() -> None:
    function = {"name": "weather", "arguments": '{"city": "Rome"}'}
    said = {
        "content": "hello",
        "reasoning_content": "hm",
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }
    response = whole(said, "tool_calls", tools=[TOOL], metadata={"a": "b"}, instructions="be brief")
    assert (response.id, response.status, response.object) == (
        "resp_0192ab",
        "completed",
        "response",
    )
    thought, message, called = response.output
    assert thought.content[0].text == "hm"
    assert response.output_text == message.content[0].text == "hello"
    assert (called.call_id, called.name, called.arguments) == (
        *("c1", "weather"),
        '{"city": "Rome"}',
    )
    assert len({item.id for item in response.output}) == 3
    assert response.usage.input_tokens == 9
    assert response.usage.input_tokens_details.cached_tokens == 5
    assert response.usage.output_tokens_details.reasoning_tokens == 2
    assert response.usage.total_tokens == 13
    assert response.usage.model_extra == {"cost": 0.25}
    assert response.tools[0].name == "weather"
    assert (response.metadata, response.instructions) == ({"a": "b"}, "be brief")
    assert response.created_at == 5


@pytest.mark.parametrize(
    ("finish", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_that_was_cut_off_is_incomplete(finish: str, why: str) -> None:
    response = whole({"content": "he"}, finish)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", why)
    assert response.output[0].status == "incomplete"
    end = told([chunk(content="he"), chunk(finish)])[-1]
    assert end.type == "response.incomplete"
    assert end.response.incomplete_details.reason == why


def test_a_refusal_and_probabilities_are_told() -> None:
    response = whole({"content": None, "refusal": "no"})
    assert response.output[0].content[0].refusal == "no"
    assert "response.refusal.done" in [event.type for event in told([chunk(refusal="no")])]
    probable = {"token": "hi", "bytes": [104, 105], "logprob": -0.1, "top_logprobs": []}
    body = {"choices": [{"message": {"content": "hi"}, "logprobs": {"content": [probable]}}]}
    made = json.loads(response_of(msgspec.json.encode(body), resource()))
    assert made["output"][0]["content"][0]["logprobs"] == [probable]
