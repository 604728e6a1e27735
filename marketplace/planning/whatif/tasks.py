"""Answering a what-if question is a job."""

from marketplace.planning.models import WhatIf
from marketplace.planning.whatif.services import what_if_answer
from marketplace.shared.jobs.kinds import JobKind
from marketplace.shared.jobs.services import job_register

job_register(JobKind(WhatIf, what_if_answer))
