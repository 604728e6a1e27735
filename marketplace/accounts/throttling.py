"""How much one caller may write by the management API."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from django.conf import settings
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from marketplace.accounts.models import ApiKey, User

if TYPE_CHECKING:
    from rest_framework.views import APIView  # It imports this module.


class WritesThrottle(SimpleRateThrottle):
    """``WAYPOST_API_WRITES_PER_MINUTE`` of a person, or of all keys of an organisation.

    Reading is free. So are strangers, who write nothing, and agents, which report by a clock.
    """

    scope = "writes"

    def get_rate(self) -> str:
        return f"{settings.WAYPOST_API_WRITES_PER_MINUTE}/min"

    def get_cache_key(self, request: Request, view: APIView) -> str | None:
        if request.method in SAFE_METHODS:
            return None
        if isinstance(request.auth, ApiKey):
            ident = f"organisation-{request.auth.organisation_id}"
        elif isinstance(request.user, User):
            ident = f"user-{request.user.pk}"
        else:
            return None
        return self.cache_format % {"scope": self.scope, "ident": ident}

    def wait(self) -> float | None:
        """Whole seconds, as ``Retry-After`` has them: rounded down, the next one would fail too."""
        wait: float | None = super().wait()
        return None if wait is None else ceil(wait)
