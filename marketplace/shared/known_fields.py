"""The fields that a body may have. A module without views: serializers are declared early."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

UNKNOWN = "There is no such field here."


class KnownFieldsOnly(serializers.Serializer[Any]):
    """Refuses a field that it does not have: what nobody reads, nobody has changed."""

    def to_internal_value(self, data: Any) -> Any:
        """Raises ``ValidationError`` that names each of them."""
        if isinstance(data, Mapping) and (unknown := sorted(data.keys() - self.fields.keys())):
            raise serializers.ValidationError(dict.fromkeys(unknown, UNKNOWN))
        return super().to_internal_value(data)
