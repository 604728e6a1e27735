"""Parses bodies of the management API. Django REST framework imports it before the views."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from marketplace.shared.texts import DEPTH_MAX, unkept_in


class KeptJSONParser(JSONParser):
    """JSON whose texts and numbers PostgreSQL can all store; else 400."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The parsed body. Raises ``ParseError``."""
        try:
            value = super().parse(stream, media_type, parser_context)
        except RecursionError as error:
            raise ParseError(f"Objects and lists may be {DEPTH_MAX} deep.") from error
        if found := unkept_in(value):
            raise ParseError(found)
        return value
