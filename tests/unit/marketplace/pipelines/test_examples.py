"""Examples of what a schema describes."""

from typing import Any

import pytest

from marketplace.pipelines.examples import DEPTH_MAX, ITEMS_MAX, example_of


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({}, "…"),
        ({"type": "string"}, "…"),
        ({"type": ["integer", "null"]}, 1),
        ({"type": "number", "default": 7}, 7),
        ({"enum": ["a", "b"]}, "a"),
        ({"type": "string", "examples": ["x"], "default": "y"}, "x"),
        ({"type": "array", "items": {"type": "number"}, "minItems": 3}, [0.5] * 3),
        ({"type": "array", "minItems": 10**9}, ["…"] * ITEMS_MAX),
        ({"type": "array", "prefixItems": [{"type": "boolean"}, {"const": 0}]}, [True, 0]),
        ({"properties": {"a": {"type": "null"}, "b": True}}, {"a": None, "b": "…"}),
        ({"type": "object", "properties": 3}, {}),
        ({"type": 3}, "…"),
    ],
)
def test_an_example_has_the_shape_of_its_schema(schema: Any, example: Any) -> None:
    assert example_of(schema) == example


def test_a_schema_may_be_as_deep_as_it_likes() -> None:
    schema: Any = {"type": "string"}
    for _ in range(5_000):
        schema = {"type": "array", "items": schema}
    example, depth = example_of(schema), 0
    while isinstance(example, list):
        example, depth = example[0], depth + 1
    assert depth == DEPTH_MAX + 1
