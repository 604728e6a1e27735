"""Jobs whose message or whose process was lost are looked for."""

from marketplace.shared.jobs.periodic import Queue, every
from marketplace.shared.jobs.services import SWEEP_EVERY_S, jobs_sweep


@every(SWEEP_EVERY_S, queue=Queue.CONTROL)
def sweep() -> int:
    """Take them up again; returns how many had lost their process."""
    return jobs_sweep()
