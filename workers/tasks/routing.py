"""Put in force what became due by the clock: an offer whose effective date has passed."""

from celery import shared_task

from marketplace.routing.services import snapshot_publish


@shared_task
def publish_what_came_due() -> int:
    """Publish if anything differs from the last snapshot; returns the version in force."""
    return snapshot_publish().version
