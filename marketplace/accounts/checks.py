"""A check of ``check --deploy``: staff sign in with a second factor."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register


@register(Tags.security, deploy=True)
def staff_have_a_second_factor(**kwargs: Any) -> list[CheckMessage]:
    """Warn if a password is enough for staff."""
    if settings.WAYPOST_STAFF_SECOND_FACTOR:
        return []
    return [
        Warning(
            "The platform's staff need no second step of signing in.",
            hint="Leave out WAYPOST_STAFF_SECOND_FACTOR=0.",
            id="accounts.W001",
        )
    ]
