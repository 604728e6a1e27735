"""A separate process for a job that may take longer than its job process lives."""

import subprocess
import sys
from pathlib import Path

from django.conf import settings

from marketplace.shared.jobs.kinds import JobKind
from marketplace.shared.jobs.models import Job


def process_start(kind: JobKind, job: Job) -> None:
    """Begin the process that runs this job, which is claimed; what it prints is in a file."""
    logs = Path(settings.WAYPOST_HOME) / "jobs"
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{kind.model._meta.label_lower}-{job.pk}.log").open("ab") as log:
        # A separate session: what ends the job process does not end this one.
        subprocess.Popen(  # noqa: S603 # our own command
            [sys.executable, str(settings.BASE_DIR / "manage.py"), *kind.command, str(job.pk)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=settings.BASE_DIR,
        )
