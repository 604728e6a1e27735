"""What a probe says of its worker, by what comes of it."""

import pytest
from msgspec.structs import replace

from router.domain.catalog import OWN, Endpoint
from router.pipeline.attempts.probes import Probes
from router.ports.upstream import UpstreamFailed, UpstreamRefused
from router.scheduling.attempts.endings import ALIVE, ANSWERED, FAILED, Ending
from tests.unit.router.pipeline.line import ANSWER, FakeUpstream, until
from tests.unit.router.scheduling.fleets import endpoint, place, scheduler


class Probed(FakeUpstream):
    """Answers a probe, or raises ``error``."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__(lambda _: ANSWER)
        self.error = error

    async def probe(self, endpoint: Endpoint) -> None:
        await super().probe(endpoint)
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "provider", "ending"),
    [
        (None, "north", ANSWERED),
        (None, OWN, ALIVE),
        (UpstreamRefused(404, "no such path"), "north", ALIVE),
        (UpstreamFailed("http_429", is_fault=False), "north", ALIVE),
        (UpstreamFailed("connect"), "north", FAILED),
        (UpstreamFailed("http_401"), OWN, FAILED),
    ],
)
async def test_only_an_answer_to_a_probe_that_is_work_says_how_fast_a_worker_is(
    error: Exception | None, provider: str, ending: Ending
) -> None:
    asked = endpoint("a")
    asked = replace(asked, deployment=replace(asked.deployment, provider=provider))
    attempt = place(scheduler(asked), "t", "a")
    endings: list[Ending] = []
    upstream = Probed(error)
    Probes({"openai": upstream}).begin(attempt, lambda _, ended: endings.append(ended))
    await until(lambda: bool(endings))
    assert (endings, upstream.probed) == ([ending], ["a"])
