"""Why an endpoint was chosen for a call, or not. Few values: they are database values too."""

from enum import StrEnum


class Verdict(StrEnum):
    """What happened to one endpoint: it was scored, or ruled out before that."""

    CHOSEN = "chosen"
    """It had the lowest score."""
    TIED = "tied"
    """Its score was the lowest too, and another with that score was drawn."""
    SLOWER = "slower"
    """It had room, but a higher score."""
    BUSY = "busy"
    """The call would have had to wait there."""

    UNHEALTHY = "unhealthy"
    """Its worker does not pass its health checks."""
    LEFT_OUT = "left_out"
    """Its worker could not be started on this machine."""
    DRAINING = "draining"
    """Its worker is being taken out of service."""
    PROTOCOL = "protocol"
    """Its worker does not speak what the call needs."""

    NOT_WANTED = "not_wanted"
    """``only``, or ``order`` without fallbacks, names other providers."""
    IGNORED = "ignored"
    """``ignore`` names its provider."""
    TOO_DEAR = "too_dear"
    """A price is above ``max_price``."""
    QUANTIZATION = "quantization"
    """Its precision is not among ``quantizations``."""
    DATA_COLLECTION = "data_collection"
    """It may keep prompts, which ``data_collection`` forbids."""
    PARAMETERS = "parameters"
    """It does not act on a parameter that ``require_parameters`` asks for."""


SCORED = frozenset({Verdict.CHOSEN, Verdict.TIED, Verdict.SLOWER, Verdict.BUSY})
"""The verdicts of endpoints that got a score; the others were ruled out before."""
