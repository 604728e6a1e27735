"""One job of each kind, asked for as its feature does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

from marketplace.benchmarks.models import WhatIf
from marketplace.benchmarks.whatif.question import question_of
from marketplace.benchmarks.whatif.services import what_if_ask
from marketplace.shared.jobs.models import Job
from tests.integration.marketplace.recorded import lived
from tests.integration.marketplace.shop import Shop


@contextmanager
def what_if(shop: Shop) -> Iterator[Job]:
    since, _deployments = lived(shop, count=300, load=0.5)
    asked = {"model": shop.model.name, "since": since, "until": since + timedelta(hours=1)}
    yield what_if_ask(question=question_of(asked), asked_by=shop.owner)


ASKED: dict[type[Job], Callable[[Shop], AbstractContextManager[Job]]] = {WhatIf: what_if}
