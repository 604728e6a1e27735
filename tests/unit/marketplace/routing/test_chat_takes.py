"""What the catalog says that a chat may hold besides text."""

from typing import Any

import pytest

from marketplace.catalog.models import AIModel
from marketplace.demo.schemas import CHAT_INPUT
from marketplace.routing.selectors import chat_takes

PARTS = {"properties": {"messages": {"items": {"enum": ["text", "image_url", "input_audio"]}}}}


@pytest.mark.parametrize(
    ("schema", "is_priced_by_image", "takes"),
    [
        (CHAT_INPUT, False, ()),
        (CHAT_INPUT, True, ("image",)),
        (PARTS, False, ("audio", "image")),
        ({}, True, ("image",)),
        ({}, False, None),
    ],
)
def test_a_chat_takes_what_its_schema_names_and_what_has_a_price(
    schema: dict[str, Any], is_priced_by_image: bool, takes: tuple[str, ...] | None
) -> None:
    assert chat_takes(AIModel(task="chat", input_schema=schema), is_priced_by_image) == takes
