"""Which job runs in this context."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_job: ContextVar[str] = ContextVar("current_job", default="")


@contextmanager
def acting_as(name: str) -> Iterator[None]:
    """Changes within are of a job of this name."""
    token = _job.set(name)
    try:
        yield
    finally:
        _job.reset(token)


def job_running() -> str:
    """Its name, or "" outside of one."""
    return _job.get()
