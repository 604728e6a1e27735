"""Periodic tasks: fold telemetry, propose, steer trials, watch for stragglers."""

from marketplace.shared.jobs.periodic import Queue, every
from marketplace.tuning.loop import profiles_fold, proposals_make
from marketplace.tuning.services import canaries_steer
from marketplace.tuning.stragglers.watch import stragglers_watch


@every(60.0, queue=Queue.WORK)
def fold_telemetry() -> int:
    """Test deployments for drift; returns how many got a new profile."""
    return len(profiles_fold())


@every(300.0, queue=Queue.WORK)
def propose() -> int:
    """Make proposals from the evidence; returns how many."""
    return len(proposals_make())


@every(5.0, queue=Queue.CONTROL)
def steer_canaries() -> int:
    """Steer the running trials; returns how many there were."""
    return len(canaries_steer())


@every(10.0, queue=Queue.CONTROL)
def watch_stragglers() -> int:
    """Name stragglers; returns how many are named now."""
    return len(stragglers_watch())
