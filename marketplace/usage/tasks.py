"""Periodic work on recorded calls: new months, figures of models, keys' last use."""

from marketplace.shared.jobs.periodic import Queue, every
from marketplace.usage.app_rankings import app_rankings_compute
from marketplace.usage.partitions import partitions_make
from marketplace.usage.rankings import rankings_compute
from marketplace.usage.refusals.selectors import refusals_forget
from marketplace.usage.services import (
    LOOK_BACK_FAR,
    deployment_rollups_compute,
    figures_compute,
    keys_used,
)


@every(6 * 3600.0, queue=Queue.WORK)
def make_partitions() -> int:
    """Create the months ahead; returns how many."""
    return partitions_make()


@every(6 * 3600.0, queue=Queue.WORK)
def forget_refusals() -> int:
    """Delete the oldest counts of refused calls; returns how many rows."""
    return refusals_forget()


@every(30.0, queue=Queue.WORK)
def compute_figures() -> int:
    """Compute recent latencies of models; returns how many models."""
    return figures_compute()


@every(30.0, queue=Queue.WORK)
def note_keys_used() -> int:
    """Update when keys were last used; returns how many."""
    return keys_used()


@every(120.0, queue=Queue.WORK)
def compute_rollups() -> int:
    """Update sums by deployment and the rankings from them; returns how many sums."""
    made = deployment_rollups_compute()
    rankings_compute()
    app_rankings_compute()
    return made


@every(6 * 3600.0, queue=Queue.WORK)
def compute_late_rollups() -> int:
    """Count calls that settled late, in rankings too; returns how many sums were written."""
    made = deployment_rollups_compute(look_back=LOOK_BACK_FAR)
    rankings_compute(afresh=True)
    return made
