"""Own endpoints that have several servers, on their organisation's hosts."""

import msgspec

from router.domain.catalog import Endpoint, Worker
from router.domain.protocols import OWN_OPENAI
from router.ports.upstream import Answer, UpstreamFailed
from tests.unit.router.ingress.serving import calling
from tests.unit.router.ingress.test_own_models import MINE, asking, bearer, with_own, works
from tests.unit.router.pipeline.line import KEY, FakeUpstream, Line

CHAT = "/v1/chat/completions"


def with_hosts(*servers: Worker):
    """The market, and organisation 1's endpoint with these servers."""
    made = with_own()
    others = tuple(worker for worker in made.workers if worker.pool != "~9")
    return msgspec.structs.replace(made, workers=(*others, *servers))


def server(name: str, *, healthy: bool = True, draining: bool = False) -> Worker:
    return Worker(
        f"~9.{name}-a", "~9", f"https://{name}", OWN_OPENAI, 4, healthy=healthy, draining=draining
    )


async def test_another_host_gets_the_call_that_one_fails() -> None:
    seen: list[str] = []

    def answers(endpoint: Endpoint) -> Answer | Exception:
        seen.append(endpoint.worker.id)
        return UpstreamFailed("connect") if len(seen) == 1 else works(endpoint)

    line = Line(FakeUpstream(answers), catalog=with_hosts(server("one"), server("two")))
    async with calling(line) as client:
        answer = await client.post(CHAT, headers=bearer(KEY), json=asking("a/m"))
    assert answer.status_code == 200
    assert sorted(seen) == ["~9.one-a", "~9.two-a"]
    (record,) = line.records
    assert (record.model, record.deployment_id) == (MINE, -9)


async def test_hosts_that_drain_or_are_down_leave_the_call_to_the_market() -> None:
    catalogs = (
        with_hosts(),
        with_hosts(server("one", draining=True), server("two", healthy=False)),
    )
    for catalog in catalogs:
        line = Line(FakeUpstream(works), catalog=catalog)
        async with calling(line) as client:
            alone = await client.post(CHAT, headers=bearer(KEY), json=asking(MINE))
            assert alone.status_code == 503
            assert "takes calls now" in alone.json()["error"]["message"]
            spilt = await client.post(CHAT, headers=bearer(KEY), json=asking("a/m"))
            assert spilt.status_code == 200
        assert not [name for name in line.upstream.called if name.startswith("~")]
