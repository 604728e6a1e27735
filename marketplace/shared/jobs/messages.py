"""Messages to the job processes: there is something for this task to do.

A message names no job, so one too many or one twice does no harm. One that is lost is sent again by
the sweep.
"""

import logging
from functools import cache

import celery
from django.conf import settings
from kombu.exceptions import OperationalError

from marketplace.shared.jobs.brokers import options_to_send, priority_of, queues
from marketplace.shared.jobs.kinds import task_name
from marketplace.shared.jobs.models import Job
from marketplace.shared.jobs.periodic import Priority, Queue

SEND_TIMEOUT_S = 2.0
"""A page waits no longer for a broker that does not answer."""

log = logging.getLogger(__name__)


def message_send(model: type[Job], expires_s: float | None = None) -> None:
    """Tell one job process that there is a job of this kind."""
    task_send(task_name(model), expires_s, model.queue)


def task_send(
    name: str,
    expires_s: float | None = None,
    queue: Queue = Queue.WORK,
    priority: Priority = Priority.NORMAL,
) -> None:
    """Have a job process run a task; does nothing without a broker, and thus a job process."""
    if not settings.BROKER_URL:
        return
    try:
        _client(settings.BROKER_URL).send_task(
            name,
            queue=queue,
            priority=priority_of(priority, settings.BROKER_URL),
            expires=expires_s,
            retry=False,
            ignore_result=True,
        )
    except OperationalError as error:
        log.warning("no message for %s until the clock's next: %s", name, error)


@cache
def _client(broker_url: str) -> celery.Celery:
    client = celery.Celery("waypost", broker=broker_url, set_as_current=False)
    client.conf.broker_connection_timeout = SEND_TIMEOUT_S
    client.conf.broker_transport_options = options_to_send(broker_url, SEND_TIMEOUT_S)
    client.conf.task_queues = queues()
    return client
