"""Values go where a template says, and what cannot be read is refused with its place."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.pipelines.templates import (
    DEPTH_MAX,
    REFERENCES_MAX,
    STEPS_MAX,
    TemplateInvalid,
    ValueMissing,
    filled,
    path_read,
    references_of,
)

VALUES = {
    "input": {"text": "sea", "rows": [{"x": 1}, {"x": 2}], "none": None},
    "score": {"P": [[0.25], [0.75]]},
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ({"$from": "input.text"}, "sea"),
        ({"$from": "score"}, VALUES["score"]),
        ({"$from": "score.P[1][0]"}, 0.75),
        ({"$from": "input.rows[*].x"}, [1, 2]),
        ({"$from": "score.P[*][*]"}, [[0.25], [0.75]]),
        ({"$from": "input.none"}, None),
        ({"a": [{"$from": "input.text"}, 7]}, {"a": ["sea", 7]}),
        ({"$text": ["p=", {"$from": "score.P[0][0]"}, " ", {"$from": "input.text"}]}, "p=0.25 sea"),
        ({"$ref": "kept", "n": 1}, {"$ref": "kept", "n": 1}),
    ],
)
def test_a_template_is_filled(template: Any, value: Any) -> None:
    references_of(template, "input")
    assert filled(template, VALUES) == value


@pytest.mark.parametrize(
    "path",
    ["input.other", "input.rows[2]", "input.text.more", "input.text[0]", "input.text[*]", "later"],
)
def test_a_path_to_nothing_is_told(path: str) -> None:
    with pytest.raises(ValueMissing, match=path.partition(".")[0]):
        filled({"$from": path}, VALUES)


@pytest.mark.parametrize(
    ("template", "at"),
    [
        ({"$from": ""}, "input"),
        ({"$from": 7}, "input"),
        ({"a": {"$from": "input..x"}}, "input.a"),
        ({"a": [{"$from": "input[x]"}]}, "input.a[0]"),
        ({"$from": "input.x", "b": 1}, "input"),
        ({"$text": "x"}, "input"),
        ({"a": {"$text": [7]}}, "input.a"),
        ({"$text": [{"$text": ["x"]}]}, "input"),
        ({"$from": "input" + ".x" * (STEPS_MAX + 1)}, "input"),
        ([{"$from": "input"}] * (REFERENCES_MAX + 1), "input"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(template: Any, at: str) -> None:
    with pytest.raises(TemplateInvalid) as raised:
        references_of(template, "input")
    assert raised.value.at == at


def test_depth_has_a_bound() -> None:
    template: Any = 1
    for _ in range(DEPTH_MAX):
        template = [template]
    assert references_of(template, "input") == []
    with pytest.raises(TemplateInvalid, match="deeper"):
        references_of([template], "input")


KEYS = st.text("abcXYZ_-019", min_size=1, max_size=5)
VALUE = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(VALUE)
def test_every_value_is_reached_by_its_path(value: Any) -> None:
    text, at = "input", value
    while isinstance(at, dict | list) and at and text.count(".") + text.count("[") < STEPS_MAX:
        key = next(iter(at)) if isinstance(at, dict) else len(at) - 1
        text += f".{key}" if isinstance(at, dict) else f"[{key}]"
        at = at[key]
    assert path_read(text, "").text == text
    assert filled({"$from": text}, {"input": value}) == at


@given(VALUE)
def test_what_names_no_path_stays_as_it_is(value: Any) -> None:
    assert filled(value, {}) == value
