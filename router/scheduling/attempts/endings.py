"""How an attempt can end, and all that follows from it: the one table.

However it ends, the attempt frees its place at once, on slots as on an engine. Each row below says
the rest:

1. What the call's record says of it (``outcome``).
2. Whether its worker is trusted more or less (``trust``; :mod:`router.scheduling.fleet.ejection`).
3. What is learned of the worker's speed (``lesson``).
4. How the attempt beside it ends, if the call was hedged (``twin``; None = it goes on).
5. Whether the call may be sent to another worker (``is_retried``), while tries and the retry budget
   last. It is only where the client has got nothing yet.

The scheduler acts on 2 to 4, the pipeline on 1 and 5. A probe ends like any other attempt, but has
no record, and learns in its own way.
"""

from enum import StrEnum

from msgspec import Struct

from router.domain.outcome import Outcome


class Trust(StrEnum):
    """What an ending says of the worker."""

    GAINED = "gained"
    """It answers. An ejected worker is let back in."""
    KEPT = "kept"
    """Nothing."""
    DOUBTED = "doubted"
    """It lives, and answered wrongly. The request may be the cause: a probe will tell."""
    LOST = "lost"
    """It failed. Two failures in a row eject it."""
    LOST_IF_SILENT = "lost_if_silent"
    """If nothing was heard of it since the answer was due, it may hang. Then this is a failure."""


class Lesson(StrEnum):
    """What an ending teaches about the worker's speed."""

    MEASURED = "measured"
    """It took this long."""
    CENSORED = "censored"
    """It would have taken longer than this."""
    NOTHING = "nothing"


class Ending(Struct, frozen=True, gc=False):
    """One row of the table; see the module."""

    outcome: Outcome
    trust: Trust = Trust.KEPT
    lesson: Lesson = Lesson.NOTHING
    twin: "Ending | None" = None
    is_retried: bool = False


# Reading an attribute of an enum takes 70 ns.
GAINED, KEPT, DOUBTED, LOST, LOST_IF_SILENT = Trust
MEASURED, CENSORED, NOTHING = Lesson

OUTRUN = Ending(Outcome.OUTRUN, LOST_IF_SILENT, CENSORED)
"""The other attempt of a hedge answered first."""

ANSWERED = Ending(Outcome.COMPLETED, GAINED, MEASURED, twin=OUTRUN)
"""The last token came. (The first one decides a race already, but ends nothing.)"""

FAILED = Ending(Outcome.WORKER_FAILED, LOST, is_retried=True)
"""No connection, no answer in time, or a broken one, before the first byte. A probe that takes too
long ends like this as well.
"""

ALIVE = Ending(Outcome.COMPLETED, GAINED)
"""A probe was refused, or asked for no work: it shows that the worker lives, and not how fast."""

ANSWERED_WRONGLY = Ending(Outcome.WORKER_FAILED, DOUBTED, is_retried=True)
"""A status of 5xx, or what is no answer at all."""

BUSY = Ending(Outcome.WORKER_FAILED, is_retried=True)
"""It did not take the request, without being at fault: full, or still loading. It may say for how
long to leave it alone.
"""

TRUNCATED = Ending(Outcome.TRUNCATED, LOST)
"""The worker failed after its first byte: the client has seen half an answer."""

REFUSED = Ending(Outcome.REFUSED, twin=Ending(Outcome.OUTRUN))
"""The request is wrong (4xx): every worker would say so."""

GIVEN_UP = Ending(Outcome.CLIENT_GONE, twin=Ending(Outcome.CLIENT_GONE))
"""Nobody takes the answer any more: the client left, its deadline passed, its credit is used up, a
stream lasted too long, or the router stops.
"""

NOT_SENT = Ending(Outcome.CLIENT_GONE)
"""Its call was over at the moment it was placed."""
