"""An input becomes the call of the model's own API, or an error that names its field."""

import json
from typing import Any

import pytest

from marketplace.catalog.models import AIModel
from marketplace.demo.offering.emulated import EMULATED_MODELS
from marketplace.demo.offering.real import REAL_MODELS
from marketplace.predictions.calls.call import (
    CHAT,
    COMPLETION,
    RESPONSES,
    StandIn,
    call_of,
)
from marketplace.predictions.calls.invalid import InputInvalid

DEMO = {model.task: model for model in (*EMULATED_MODELS, *REAL_MODELS)}
ROW = [240, 3, 320, 4, 5, 0.4, 0, 90]


def model_of(task: str, **changes: Any) -> AIModel:
    demo = DEMO[task]
    fields = {"input_schema": demo.input_schema, "tensors": demo.tensors} | changes
    return AIModel(name=demo.name, task=task, **fields)


def refused(task: str, given: Any, **changes: Any) -> tuple[str, str]:
    with pytest.raises(InputInvalid) as error:
        call_of(model_of(task, **changes), given)
    return error.value.param, str(error.value)


def test_a_chat_is_streamed_and_says_what_it_used() -> None:
    given = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "stream": False}
    call = call_of(model_of("chat"), given)
    assert (call.path, call.streams) == (CHAT, True)
    assert json.loads(call.body) == given | {
        "model": DEMO["chat"].name,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_prompt_is_a_completion_with_the_parameters_of_the_chat() -> None:
    assert call_of(model_of("chat"), {"prompt": "Once"}).path == COMPLETION
    param, _message = refused("chat", {"prompt": "Once", "temperature": 3})
    assert param == "input.temperature"


def test_embeddings_are_a_whole_answer() -> None:
    call = call_of(model_of("embeddings"), {"input": ["a", "b"]})
    assert (call.path, call.streams) == ("/v1/embeddings", False)
    assert json.loads(call.body) == {"input": ["a", "b"], "model": DEMO["embeddings"].name}


def test_an_input_of_a_chat_model_is_a_response() -> None:
    given = {"input": "Hi", "tools": [{"type": "function", "name": "look"}]}
    call = call_of(model_of("chat"), given)
    assert (call.path, call.streams) == (RESPONSES, False)
    assert json.loads(call.body) == given | {"model": DEMO["chat"].name, "stream": False}


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"messages": [{"role": "user", "content": "Hi"}]}, CHAT),
        ({"prompt": "Hi"}, COMPLETION),
        ({"input": "Hi"}, RESPONSES),
    ],
)
def test_a_name_that_leaves_the_choice_to_the_router_is_a_chats(given: Any, path: str) -> None:
    call = call_of(StandIn("auto:floor"), given)
    assert (call.path, json.loads(call.body)["model"]) == (path, "auto:floor")


def test_a_preset_is_checked_with_what_it_adds_and_sent_by_its_name() -> None:
    model = model_of("chat", input_schema={"type": "object", "required": ["seed"]})
    given = {"messages": [{"role": "user", "content": "Hi"}]}
    with pytest.raises(InputInvalid, match="seed is missing"):
        call_of(StandIn("@preset/brief", model), given)
    body = json.loads(call_of(StandIn("@preset/brief", model, {"seed": 1}), given).body)
    assert body["model"] == "@preset/brief"
    assert "seed" not in body


def test_a_preset_of_a_model_that_takes_tensors_is_refused() -> None:
    with pytest.raises(InputInvalid, match="by its own name"):
        call_of(StandIn("@preset/rows", model_of("tabular")), {"FEATURES": [ROW]})


@pytest.mark.parametrize(
    ("task", "given", "path"),
    [
        ("rerank", {"query": "q", "documents": ["x"]}, "/v1/rerank"),
        ("moderation", {"input": "x"}, "/v1/moderations"),
        ("image", {"prompt": "x"}, "/v1/images/generations"),
    ],
)
def test_what_else_takes_json_is_called_at_its_own_path(
    task: str, given: dict[str, Any], path: str
) -> None:
    call = call_of(model_of(task), given)
    assert (call.path, call.streams) == (path, False)
    assert json.loads(call.body)["model"] == DEMO[task].name
    with pytest.raises(InputInvalid):
        call_of(model_of(task), {})


@pytest.mark.parametrize("task", ["speech", "transcription"])
def test_sound_is_no_prediction(task: str) -> None:
    with pytest.raises(InputInvalid, match="call /v1/audio"):
        call_of(model_of(task), {"input": "x", "voice": "y"})


def test_rows_of_a_table_are_a_tensor() -> None:
    call = call_of(model_of("tabular"), {"FEATURES": [ROW, ROW]})
    assert call.path == "/v2/models/waypost/fraud-scorer/infer"
    (tensor,) = json.loads(call.body)["inputs"]
    assert tensor == {"name": "FEATURES", "datatype": "FP32", "shape": [2, 8], "data": ROW + ROW}


def test_a_tensor_may_be_flat() -> None:
    flat = call_of(model_of("tabular"), {"FEATURES": {"shape": [2, 8], "data": ROW + ROW}})
    assert flat == call_of(model_of("tabular"), {"FEATURES": [ROW, ROW]})


def test_an_image_is_numbers() -> None:
    tensor = {"name": "INPUT", "datatype": "FP32", "shape": [-1, 3, 1, 2]}
    model = model_of("vision", tensors={"inputs": [tensor]})
    call = call_of(model, {"INPUT": [[[[0, 1]], [[0.5, 0.5]], [[1, 0]]]]})
    (sent,) = json.loads(call.body)["inputs"]
    assert (sent["shape"], sent["data"]) == ([1, 3, 1, 2], [0, 1, 0.5, 0.5, 1, 0])


@pytest.mark.parametrize(
    ("task", "given", "param"),
    [
        ("chat", [], "input"),
        ("chat", {}, "input.messages"),
        ("chat", {"messages": "Hi"}, "input.messages"),
        ("chat", {"messages": [], "model": "other"}, "input.model"),
        ("chat", {"messages": [], "stop": ["a", 5]}, "input.stop[1]"),
        ("chat", {"messages": [], "top_p": 0}, "input.top_p"),
        ("embeddings", {}, "input.input"),
        ("embeddings", {"input": 5}, "input.input"),
        ("tabular", {}, "input.FEATURES"),
        ("tabular", {"FEATURES": [ROW], "OTHER": [1]}, "input.OTHER"),
        ("tabular", {"FEATURES": []}, "input.FEATURES"),
        ("tabular", {"FEATURES": [ROW, ROW[:7]]}, "input.FEATURES[1]"),
        ("tabular", {"FEATURES": [[*ROW[:7], [1]]]}, "input.FEATURES[0][7]"),
        ("tabular", {"FEATURES": [ROW[:7]]}, "input.FEATURES"),
        ("tabular", {"FEATURES": [[*ROW[:7], "90"]]}, "input.FEATURES"),
        ("tabular", {"FEATURES": [ROW, [*ROW[:1], 25, *ROW[2:]]]}, "input.FEATURES[1][1]"),
        ("tabular", {"FEATURES": {"shape": [2, 8], "data": ROW}}, "input.FEATURES.data"),
        ("tabular", {"FEATURES": {"shape": [-1, 8], "data": ROW}}, "input.FEATURES.shape"),
        ("vision", {"INPUT": "data:image/png;base64,"}, "input.INPUT"),
    ],
)
def test_what_the_model_does_not_take_is_named(task: str, given: Any, param: str) -> None:
    assert refused(task, given)[0] == param


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("INT8", 128), ("INT8", 1.0), ("UINT8", -1), ("INT64", True), ("BOOL", 1), ("BYTES", 1)],
)
def test_values_are_of_the_datatype(datatype: str, value: Any) -> None:
    tensors = {"inputs": [{"name": "X", "datatype": datatype, "shape": [-1]}]}
    param, message = refused("tabular", {"X": [value]}, tensors=tensors, input_schema={})
    assert param == "input.X"
    assert datatype in message


def test_a_model_whose_tensors_are_unknown_says_so() -> None:
    assert refused("tabular", {"X": [1]}, tensors={})[0] == "input"


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "http://192.0.2.1/schema"}])
def test_a_schema_that_cannot_be_read_judges_nothing(schema: dict[str, Any]) -> None:
    given = {"messages": []}
    assert call_of(model_of("chat", input_schema=schema), given).path == CHAT


def test_a_pattern_of_a_provider_cannot_hold_the_process_up() -> None:
    schema = {"properties": {"user": {"type": "string", "pattern": "^(a+)+$"}}}
    given = {"messages": [], "user": "a" * 50_000 + "!"}
    assert refused("chat", given, input_schema=schema)[0] == "input.user"


def test_a_long_value_is_not_repeated_in_the_message() -> None:
    assert len(refused("chat", {"messages": "x" * 10_000})[1]) < 400
