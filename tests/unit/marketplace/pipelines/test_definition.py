"""A definition is refused where it cannot work: its shape, its order, and its types."""

import json
from typing import Any

import pytest

from marketplace.catalog.models import AIModel
from marketplace.demo.offering.real import REAL_MODELS
from marketplace.demo.services import PIPELINE
from marketplace.pipelines.definition import (
    BYTES_MAX,
    STAGES_MAX,
    DefinitionInvalid,
    definition_check,
    definition_read,
)

MODELS = {
    model.name: model
    for model in (
        AIModel(name="a/chat", task="chat"),
        AIModel(name="a/embed", task="embeddings"),
        AIModel(
            name="a/score",
            task="tabular",
            tensors={
                "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 4]}],
                "outputs": [{"name": "P", "datatype": "FP32", "shape": [-1, 1]}],
            },
        ),
        AIModel(name="a/unsaid", task="vision"),
    )
}
TEXT = {"$from": "input.text"}
EMBED = {"name": "embed", "model": "a/embed", "input": {"input": TEXT}}
SCORE = {"name": "score", "model": "a/score", "input": {"X": {"$from": "embed.data[*].embedding"}}}
SAY = {
    "name": "say",
    "model": "a/chat",
    "input": {"messages": [{"role": "user", "content": {"$text": ["Of ", TEXT]}}]},
}


def check(*stages: dict[str, Any], output: Any = 1, **more: Any) -> None:
    body = {"name": "a/line", "stages": stages, "output": output} | more
    definition_check(definition_read(json.dumps(body).encode()), MODELS)


def stage(name: str, called: str, /, **given: Any) -> dict[str, Any]:
    return {"name": name, "model": called, "input": given}


@pytest.mark.parametrize(
    "stages",
    [
        [EMBED, SCORE],
        [SAY, stage("embed", "a/embed", input={"$from": "say.choices[0].message.content"})],
        [SAY, stage("again", "a/chat", prompt={"$from": "say.choices[0].message.content"})],
        [EMBED, SCORE, stage("p", "a/chat", prompt={"$text": [{"$from": "score.P[0][0]"}]})],
        [stage("flat", "a/score", X={"shape": [1, 4], "data": {"$from": "input.row"}})],
        [stage("row", "a/score", X=[{"$from": "input.row"}])],
    ],
)
def test_what_fits_is_taken(stages: list[dict[str, Any]]) -> None:
    check(*stages, output={"last": {"$from": stages[-1]["name"]}})


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([SCORE, EMBED], r"stages\[0\].input.X: embed\.data.* nor a stage before it"),
        ([stage("a", "a/embed", input={"$from": "a.data"})], "nor a stage before it"),
        ([EMBED, EMBED], r"stages\[1\]\.name: the name 'embed' is taken"),
        ([stage("input", "a/embed", input="x")], "is taken"),
        ([stage("a", "a/none", input="x")], "there is no model 'a/none'"),
        ([stage("a", "a/unsaid", X=[1])], "nobody has said which tensors"),
        ([stage("a", "a/embed", text="x")], "input is missing"),
        ([stage("a", "a/chat", input="x")], r"messages \| prompt is missing"),
        ([stage("a", "a/chat", prompt="x", model="b/c")], "sets this itself"),
        ([stage("a", "a/score", X=[[1]], Y=[[1]])], "takes X, see 'Y'"),
        ([stage("a", "a/score")], "takes X, see 'X'"),
        # Types, as far as they are known.
        ([EMBED, stage("b", "a/embed", input={"$from": "embed.date"})], "there is no 'date'"),
        ([EMBED, stage("b", "a/embed", input={"$from": "embed.usage"})], "is taken here"),
        ([EMBED, stage("b", "a/embed", input={"$from": "embed.data.x"})], "has no 'x'"),
        ([SAY, stage("b", "a/score", X={"$from": "say.choices[0].message.content"})], "taken here"),
        ([EMBED, stage("b", "a/score", X={"$from": "embed.data[0].embedding"})], "taken here"),
        ([EMBED, SCORE, stage("b", "a/embed", input={"$from": "score.P[0][1]"})], "are 1 items"),
        ([EMBED, SCORE, stage("b", "a/embed", input={"$from": "score.P[0][0]"})], "taken here"),
    ],
)
def test_what_cannot_work_is_refused(stages: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(DefinitionInvalid, match=said):
        check(*stages)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"output": {"$from": "later.x"}}, "^output: later"),
        ({"output": {"$from": "embed.nothing"}}, "there is no 'nothing'"),
        ({"name": "line"}, "name"),
        ({"code": "print(1)"}, "code"),
        ({"input_schema": {"type": 7}}, "^input_schema"),
        ({"input_schema": {"type": "object", "properties": {}}}, None),
        (
            {
                "input_schema": {
                    "type": "object",
                    "properties": {"text": {"type": "number"}},
                }
            },
            "is taken here",
        ),
    ],
)
def test_the_rest_of_it_is_checked_as_well(more: dict[str, Any], said: str | None) -> None:
    if said is None:
        check(EMBED, **more)
        return
    with pytest.raises(DefinitionInvalid, match=said):
        check(EMBED, **more)


def test_it_has_bounds() -> None:
    stages = [stage(f"s{n}", "a/embed", input="x") for n in range(STAGES_MAX)]
    check(*stages)
    with pytest.raises(DefinitionInvalid, match="length"):
        check(*stages, stage("more", "a/embed", input="x"))
    with pytest.raises(DefinitionInvalid, match="length"):
        check()
    with pytest.raises(DefinitionInvalid, match="bytes"):
        definition_read(b" " * (BYTES_MAX + 1))
    for broken in (b"{", b"[" * 20_000, b"\xff", b"[]"):
        with pytest.raises(DefinitionInvalid):
            definition_read(broken)


def test_the_demos_own_fits_its_models() -> None:
    models = {
        real_model.name: AIModel(
            name=real_model.name,
            task=real_model.task,
            tensors=real_model.tensors,
            input_schema=real_model.input_schema,
        )
        for real_model in REAL_MODELS
    }
    definition_check(definition_read(PIPELINE.read_bytes()), models)
