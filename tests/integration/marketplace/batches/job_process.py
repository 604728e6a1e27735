"""A job process that runs the next batch, for a test to kill."""

import django

django.setup()

from marketplace.batches.models import Batch  # noqa: E402
from marketplace.shared.jobs.services import job_run_next  # noqa: E402
from workers import celery_app  # noqa: E402, F401 # registers all kinds

if __name__ == "__main__":
    job_run_next(Batch)
