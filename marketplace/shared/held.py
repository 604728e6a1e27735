"""Answers that a view holds open without a thread: until something ends, or as it goes on.

The view answers as usual and leaves a :class:`Held` with its request. The web process
(`marketplace/config/front/front.py`) then lets it go on: whenever its topic changed it is asked, in
a thread, for more. Any other server of the same views gives the usual answer at once.
"""

from dataclasses import dataclass
from typing import Any, Protocol

ENVIRON = "waypost.held"
"""Where it is in the WSGI environment."""


@dataclass(frozen=True, slots=True)
class Step:
    """More of the body, and whether that is the last of it."""

    body: bytes
    is_over: bool = False


class Held(Protocol):
    """The rest of an answer.

    ``topic`` is what :func:`marketplace.shared.changes.changed` reports. ``seconds`` is how long
    it goes on at most. ``streams`` says that the view's own body is the beginning of the answer;
    otherwise it is replaced by what comes.
    """

    topic: str
    seconds: float
    streams: bool

    def step(self, *, is_late: bool) -> Step:
        """What there is to send now. ``is_late``: the time is over, this is the last step."""
        ...


def hold(request: Any, held: Held) -> None:
    """Let the answer to a request go on. Takes Django's request or that of REST framework."""
    getattr(request, "_request", request).environ[ENVIRON] = held
