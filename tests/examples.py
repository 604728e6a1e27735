"""How many generated examples a test takes whose examples cost more, or less, than most."""

from hypothesis import settings

ORDINARY = 50
"""What the profile of ordinary runs has; others have a multiple."""


def examples(count: int) -> int:
    """``count`` in an ordinary run; as many times more as the profile in use asks for."""
    return count * settings.default.max_examples // ORDINARY
