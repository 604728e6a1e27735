"""Which job runs in this context. Without models: the job queue reads it before there are any."""

from contextvars import ContextVar

_job: ContextVar[str] = ContextVar("audit_job", default="")


def job_begins(name: str) -> None:
    """Changes in this context are of a job from now on, until another begins or ``""``."""
    _job.set(name)


def job_running() -> str:
    """Its name, or "" outside of one."""
    return _job.get()
