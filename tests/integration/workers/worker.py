"""A Celery worker as the product's are, with tasks that a test tells what to do.

``celery -A tests.integration.workers.worker worker``, with BROKER_URL and TOLD, a file to write to.
"""

import os
import signal
import time
from pathlib import Path

from celery import Celery

from tests.patience import PATIENCE_S
from workers.delivery import delivery_conf

LONGEST_S = 0.5

# Its tasks need no Django, which takes seconds to set up.
os.environ.pop("DJANGO_SETTINGS_MODULE", None)
app = Celery("broker-tests")
app.conf.update(**delivery_conf(os.environ["BROKER_URL"], LONGEST_S))


@app.task(name="tests.note")
def note(text: str) -> None:
    """Say that it ran."""
    with Path(os.environ["TOLD"]).open("a") as received:
        received.write(f"{text}\n")


@app.task(name="tests.die")
def die() -> None:
    """Take the process along."""
    note("died")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="tests.hold")
def hold(path: str) -> None:
    """Say that it runs, and go on until there is a file."""
    note("held")
    until = time.monotonic() + PATIENCE_S
    while not Path(path).exists() and time.monotonic() < until:
        time.sleep(0.01)
