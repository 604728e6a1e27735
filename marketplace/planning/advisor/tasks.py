"""Checking an answer by emulation is a job."""

from marketplace.planning.advisor.models import Advice
from marketplace.planning.advisor.services import advice_check
from marketplace.shared.jobs.kinds import JobKind
from marketplace.shared.jobs.services import job_register

# A check fills a core: one at a time.
job_register(JobKind(Advice, advice_check))
