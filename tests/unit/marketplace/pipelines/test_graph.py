"""A pipeline's graph, and its picture."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from marketplace.pipelines.definition import STAGES_MAX, definition_read
from marketplace.pipelines.drawing import BOX_HEIGHT, BOX_WIDTH, drawing_of
from marketplace.pipelines.graph import Edge, Typed, graph_of
from tests.unit.marketplace.pipelines.test_definition import EMBED, MODELS, SAY, SCORE, stage


def graph(*stages: object, output: object = 1):
    body = {
        "name": "a/line",
        "stages": stages,
        "output": output,
        "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}},
    }
    return graph_of(definition_read(json.dumps(body).encode()), MODELS)


def test_each_stage_says_what_it_takes_from_where() -> None:
    found = graph(EMBED, SCORE, SAY, output={"p": {"$from": "score.P"}})
    assert found.inputs == (Typed("text", "string"),)
    embed, score, say = found.stages
    assert embed.takes == (Edge("input", "input.text", "input", "string"),)
    assert embed.gives[0].name == "data"
    assert score.takes == (
        Edge("embed", "embed.data[*].embedding", "X", "array of array of number or string"),
    )
    assert score.gives == (Typed("P", "array of array of number"),)
    assert [one.layer for one in found.stages] == [1, 2, 1]
    assert found.outputs == (Edge("score", "score.P", "p", "array of array of number"),)
    assert say.takes[0].place == "messages[0].content"


def test_of_a_model_that_is_gone_nothing_is_known() -> None:
    found = graph(stage("a", "a/gone", prompt="x"), output={"$from": "a.said[0].text"})
    assert found.stages[0].gives == ()
    assert found.outputs[0].kind == "any"


@given(st.data(), st.integers(1, STAGES_MAX))
def test_a_picture_has_every_box_once_within_its_frame(data: st.DataObject, count: int) -> None:
    stages = []
    for number in range(count):
        heads = data.draw(st.sets(st.sampled_from(["input", *(f"s{n}" for n in range(number))])))
        pieces = [{"$from": f"{head}.x"} for head in sorted(heads)]
        stages.append(stage(f"s{number}", "a/gone", prompt={"$text": pieces}))
    drawing = drawing_of(graph(*stages, output={"$from": f"s{count - 1}.x"}))
    assert len(drawing.boxes) == count + 2
    places = {(box.x, box.y) for box in drawing.boxes}
    assert len(places) == len(drawing.boxes)
    for box in drawing.boxes:
        assert 0 <= box.x <= drawing.width - BOX_WIDTH
        assert 0 <= box.y <= drawing.height - BOX_HEIGHT
    for line in drawing.lines:
        assert re.fullmatch(r"M\d+ \d+C(\d+ ){5}\d+", line)
