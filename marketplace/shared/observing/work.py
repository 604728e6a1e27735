"""The request that is answered, or the job that runs, in this context."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Work:
    """Its ids; "" where there is none. ``trace_id`` is 32 hexadecimal digits."""

    request_id: str = ""
    job: str = ""
    trace_id: str = ""

    @property
    def known(self) -> dict[str, str]:
        """The ids that there are, by name."""
        found = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in found if value}


NONE = Work()
_work: ContextVar[Work] = ContextVar("work", default=NONE)


@contextmanager
def working(work: Work) -> Iterator[None]:
    """What is logged within belongs to it."""
    token = _work.set(work)
    try:
        yield
    finally:
        _work.reset(token)


def work_now() -> Work:
    """What is under way here."""
    return _work.get()
