"""Tokens, registration and heartbeats, over the API and the pages."""

import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from marketplace.accounts.models import Role, User
from marketplace.accounts.services import member_set, organisation_create
from marketplace.agents import services
from marketplace.agents.models import Agent, WorkerToken
from marketplace.agents.tokens import HOURS_MAX, worker_token_create
from marketplace.catalog import tasks
from marketplace.catalog.models import Deployment, Pool, Worker, WorkerMember
from marketplace.catalog.services import HealthReading, provider_create, worker_drain
from marketplace.catalog.tasks import probe_workers
from marketplace.routing.models import SnapshotRow
from marketplace.routing.selectors import snapshot_build
from marketplace.routing.services import snapshot_publish
from marketplace.routing.topology.contracts import RouterState, WorkerState
from marketplace.routing.topology.polling import Heard, Member, Reading
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db

HOST = {
    "hardware": [{"name": "NVIDIA H200", "memory_mib": 143_771, "driver": "570.86"}],
    "fingerprint": "ab" * 32,
    "version": "1",
}
READY = {
    "name": "a",
    "state": "ready",
    "url": "http://10.0.0.5:8000",
    "protocol": "openai",
    "slots": 64,
    "engine": "vllm",
    "engine_version": "0.11.0",
    "served_model": "slug",
}


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    kept_shop.provider.organisation = kept_shop.organisation
    kept_shop.provider.save()
    return kept_shop


def registered(shop: Shop, name: str = "gpu", pool: Pool | None = None) -> APIClient:
    """A client that calls as a new agent does."""
    _, token = worker_token_create(pool=pool or shop.worker.pool)
    answer = APIClient().post("/api/v1/agents/register", {**HOST, "token": token, "name": name})
    assert answer.status_code == 201, answer.content
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['credential']}")
    return client


def beat(client: APIClient, *workers: dict[str, Any]) -> Any:
    return client.post("/api/v1/agents/heartbeat", {**HOST, "workers": list(workers)})


def test_a_token_is_a_digest_works_once_and_expires(shop: Shop) -> None:
    row, token = worker_token_create(pool=shop.worker.pool)
    assert token not in repr(WorkerToken.objects.filter(pk=row.pk).values())
    asked = {**HOST, "token": token, "name": "gpu"}
    answer = APIClient().post("/api/v1/agents/register", asked)
    assert answer.status_code == 201
    assert answer.json()["credential"] not in repr(Agent.objects.values())
    assert (answer.json()["name"], answer.json()["pool"]) == ("gpu", "fast")
    assert APIClient().post("/api/v1/agents/register", asked).status_code == 403
    old, expired = worker_token_create(pool=shop.worker.pool)
    WorkerToken.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    late = APIClient().post("/api/v1/agents/register", {**asked, "token": expired})
    assert late.status_code == 403
    assert "expired" in late.json()["detail"]


def test_two_hosts_of_the_same_name_are_two_agents(shop: Shop) -> None:
    registered(shop)
    registered(shop)
    assert set(Agent.objects.values_list("name", flat=True)) == {"gpu", "gpu-2"}


def test_a_ready_server_is_a_worker_once_the_prober_has_found_it(shop: Shop) -> None:
    agent = registered(shop)
    (word,) = beat(agent, READY).json()["workers"]
    told = {"name": "a", "worker_id": "gpu-a", "routable": False, "in_flight": None, "fault": ""}
    assert word == told
    row = Worker.objects.get(worker_id="gpu-a")
    assert (row.pool.name, row.url, row.slots) == ("fast", "http://10.0.0.5:8000", 64)
    Worker.objects.update(healthy=True)
    assert beat(agent, READY).json()["workers"][0]["routable"]
    beat(agent, {**READY, "slots": 32})
    row.refresh_from_db()
    assert row.slots == 32


def test_an_agent_drains_and_takes_back_only_what_it_drained_itself(shop: Shop) -> None:
    agent = registered(shop)
    beat(agent, READY)
    row = Worker.objects.get(worker_id="gpu-a")
    for said in ({**READY, "state": "draining"}, None):
        beat(agent, *([said] if said else []))
        row.refresh_from_db()
        assert row.draining
        beat(agent, READY)
        row.refresh_from_db()
        assert not row.draining
    worker_drain(worker=row, draining=True, why="staff", confirmed=True)
    beat(agent, READY)
    row.refresh_from_db()
    assert (row.draining, row.drain_reason) == (True, "staff")


def test_a_server_that_is_down_says_why(shop: Shop) -> None:
    agent = registered(shop)
    beat(agent, {**READY, "state": "down", "error": "GET /health: HTTP 503"})
    row = Worker.objects.get(worker_id="gpu-a")
    assert row.reported_error == "GET /health: HTTP 503"
    beat(agent, READY)
    row.refresh_from_db()
    assert (row.reported_error, row.reported_at is not None) == ("", True)


def test_an_agent_that_drains_is_told_what_routers_still_run_there(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watch:
        def read(self) -> Reading:
            newest = SnapshotRow.objects.values_list("version", flat=True).first() or 0
            state = RouterState(newest, 0, 0, (WorkerState("gpu-a", 64, 64, 3, 0.0, 0),))
            return Reading((Heard(Member("r", "http://r", True), state, 0.0),), 0.0)

    monkeypatch.setattr(services, "WATCH", Watch())
    agent = registered(shop)
    snapshot_publish()
    (word,) = beat(agent, {**READY, "state": "draining"}).json()["workers"]
    assert (word["routable"], word["in_flight"]) == (False, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "nonsense"},
        {"slots": 0},
        {"slots": 10_001},
        {"name": "A B"},
        {"state": "gone"},
        {"protocol": "http"},
    ],
)
def test_a_report_that_makes_no_sense_is_refused(shop: Shop, wrong: dict[str, object]) -> None:
    agent = registered(shop)
    assert beat(agent, {**READY, **wrong}).status_code == 400
    assert beat(agent, READY, READY).status_code == 400
    assert beat(agent, *({**READY, "name": str(n)} for n in range(9))).status_code == 400
    assert not Worker.objects.filter(worker_id__startswith="gpu").exists()


def test_a_worker_of_somebody_else_is_not_taken_over(shop: Shop) -> None:
    agent = registered(shop, "fast")
    answer = beat(agent, {**READY, "name": "0"})
    assert answer.status_code == 400
    assert "--name" in answer.content.decode()
    shop.worker.refresh_from_db()
    assert shop.worker.url == "http://127.0.0.1:9/"


def test_a_revoked_agent_is_refused_and_its_workers_get_nothing_new(shop: Shop) -> None:
    agent = registered(shop)
    beat(agent, READY)
    owner = APIClient()
    owner.force_login(shop.owner)
    pk = Agent.objects.get().pk
    assert owner.delete(f"/api/v1/agents/{pk}").status_code == 204
    assert Worker.objects.get(worker_id="gpu-a").draining
    assert beat(agent, READY).status_code == 401
    assert owner.get(f"/api/v1/agents/{pk}").json()["revoked_at"]


RANKS = [{**READY, "name": "a", "gang": "big", "gang_size": 3, "rank": rank} for rank in range(3)]


@pytest.mark.parametrize("first_silent_s", [16, 21, 26])
def test_a_prober_that_is_cut_off_takes_no_worker_away_though_one_fell_silent_first(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, first_silent_s: int
) -> None:
    async def reaches_nobody(workers: list[Worker]) -> list[HealthReading]:
        return [HealthReading(row.pk, "ConnectTimeout", reached=False) for row in workers]

    monkeypatch.setattr(tasks, "probe", reaches_nobody)
    for number, name in enumerate(("gpu-0", "gpu-1")):
        beat(registered(shop, name), {**READY, "url": f"http://10.0.0.{number}:8000"})
    Worker.objects.exclude(url__startswith="http://10.").delete()
    for elapsed_s in (0, 5, 10, 15, 20, 25):
        now = timezone.now()
        for name, silent_s in (("gpu-0-a", first_silent_s), ("gpu-1-a", 11)):
            Worker.objects.filter(worker_id=name).update(
                reported_at=now - timedelta(seconds=silent_s + elapsed_s),
                reports_since=now - timedelta(minutes=5),
                **({"healthy": True, "health_checked_at": now} if not elapsed_s else {}),
            )
        probe_workers()
        assert Worker.objects.filter(healthy=True).count() == 2, elapsed_s


@pytest.fixture
def gang(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> list[APIClient]:
    """The agents of three ranks, all up; the worker itself always answers the prober."""

    async def answers(workers: list[Worker]) -> list[HealthReading]:
        return [HealthReading(worker.pk) for worker in workers]

    monkeypatch.setattr(tasks, "probe", answers)
    agents = [registered(shop, f"gpu-{rank}") for rank in range(3)]
    for agent, report in zip(agents, RANKS, strict=True):
        assert beat(agent, report).status_code == 200
    return agents


def is_routed(name: str = "big") -> bool:
    """As the next snapshot says, after a round of the prober."""
    probe_workers()
    (worker,) = [row for row in snapshot_build().workers if row.id == name]
    return worker.healthy and not worker.draining


def test_a_gang_is_one_worker_that_is_routed_once_all_its_ranks_are_up(
    gang: list[APIClient], shop: Shop
) -> None:
    assert is_routed()
    assert Worker.objects.filter(worker_id="big").count() == 1
    assert WorkerMember.objects.filter(worker__worker_id="big", healthy=True).count() == 2


def test_a_gang_that_lacks_a_rank_is_not_routed(shop: Shop, gang: list[APIClient]) -> None:
    WorkerMember.objects.filter(rank=2).delete()
    assert not is_routed()
    assert (
        "2 of 3 members are up; rank 2: it is missing"
        in Worker.objects.get(worker_id="big").health_error
    )
    beat(gang[2], RANKS[2])
    assert is_routed()


def test_a_gang_falls_as_one_and_at_once(gang: list[APIClient]) -> None:
    assert is_routed()
    beat(gang[1], {**RANKS[1], "state": "down", "error": "it ended with status 1"})
    assert not is_routed()
    beat(gang[1], RANKS[1])
    assert is_routed()
    long_ago = timezone.now() - timedelta(minutes=1)
    WorkerMember.objects.filter(rank=2).update(reported_at=long_ago)
    assert is_routed(), "the first rank is heard for a moment only: the pages may have been deaf"
    Worker.objects.update(reports_since=long_ago)
    assert not is_routed()


def test_a_gang_drains_as_one_and_returns_when_all_are_back(gang: list[APIClient]) -> None:
    assert is_routed()
    (word,) = beat(gang[2], {**RANKS[2], "state": "draining"}).json()["workers"]
    assert (word["worker_id"], word["routable"]) == ("big", False)
    assert not is_routed()
    beat(gang[0], RANKS[0])
    beat(gang[2])
    assert not is_routed()
    beat(gang[2], RANKS[2])
    assert is_routed()


def test_a_next_gang_beside_it_is_routed_once_whole_and_the_old_one_drains_as_one(
    gang: list[APIClient],
) -> None:
    assert is_routed()
    following = [{**one, "name": "b", "gang": "big-2", "model_version": "2"} for one in RANKS]

    def both(rank: int, old: str = "ready") -> list[dict[str, Any]]:
        reports = [{**RANKS[rank], "state": old}, following[rank]]
        return list(beat(gang[rank], *reports).json()["workers"])

    both(0)
    both(1)
    assert (is_routed(), is_routed("big-2")) == (True, False)
    assert "rank 2: it is missing" in both(1)[1]["fault"]
    both(2)
    assert (is_routed(), is_routed("big-2")) == (True, True)
    assert both(0)[1]["routable"]
    both(0, "draining")
    assert [word["routable"] for word in both(1)] == [False, True]
    assert (is_routed(), is_routed("big-2")) == (False, True)
    for rank in range(3):
        beat(gang[rank], following[rank])
    # The third version takes the first one's names, and not its worker.
    third = [{**one, "gang": "big-3"} for one in RANKS]
    for rank in range(3):
        assert beat(gang[rank], third[rank], following[rank]).status_code == 200
    assert is_routed("big-3")
    assert not is_routed()


def test_a_rank_before_the_first_is_told_to_wait(shop: Shop) -> None:
    early = registered(shop, "gpu-1")
    assert beat(early, RANKS[1]).json()["workers"] == []
    beat(registered(shop, "gpu-0"), RANKS[0])
    assert beat(early, RANKS[1]).json()["workers"][0]["worker_id"] == "big"


def test_a_rank_belongs_to_one_agent(shop: Shop, gang: list[APIClient]) -> None:
    late = registered(shop, "late")
    assert "runs rank 1 of big" in beat(late, RANKS[1]).content.decode()
    assert "no rank 3" in beat(late, {**RANKS[1], "gang_size": 4, "rank": 3}).content.decode()
    for wrong in ({"rank": 3}, {"gang": ""}, {"gang_size": 1}, {"gang": "A B"}):
        assert beat(late, {**RANKS[1], **wrong}).status_code == 400


def test_the_pages_show_the_ranks_of_a_gang(gang: list[APIClient]) -> None:
    beat(gang[1], {**RANKS[1], "state": "down", "error": "it ended with status 1"})
    probe_workers()
    staff = signed_in(User.objects.create_user("staff@example.com", is_staff=True))
    assert "gang, 2 of 3 up" in staff.get("/topology").content.decode()
    assert "it ended with status 1" in staff.get("/topology/workers/big").content.decode()
    assert "rank 1 of 3" in staff.get("/pools/fast/workers").content.decode()


def test_its_credential_opens_nothing_else(shop: Shop) -> None:
    agent = registered(shop)
    for path in ("agents", "keys", "worker-tokens"):
        assert agent.get(f"/api/v1/{path}").status_code == 401


def test_by_a_reusable_token_many_join_and_come_back_as_themselves(shop: Shop) -> None:
    row, token = worker_token_create(pool=shop.worker.pool, reusable=True)

    def joined(name: str) -> tuple[str, APIClient]:
        answer = APIClient().post("/api/v1/agents/register", {**HOST, "token": token, "name": name})
        assert answer.status_code == 201, answer.content
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['credential']}")
        return answer.json()["name"], client

    first, before = joined("pool-0")
    second, _ = joined("pool-1")
    assert (first, second) == ("pool-0", "pool-1")
    assert beat(before, READY).status_code == 200
    assert beat(before).status_code == 200  # It has drained and is gone.
    again, client = joined("pool-0")
    assert again == "pool-0"
    assert beat(before, READY).status_code == 401
    assert beat(client, {**READY, "url": "http://10.0.0.9:8000"}).status_code == 200
    (worker,) = Worker.objects.filter(worker_id="pool-0-a")
    assert (worker.url, worker.draining) == ("http://10.0.0.9:8000", False)
    services.agent_revoke(agent=Agent.objects.get(name="pool-0"))
    assert joined("pool-0")[0] == "pool-0-2"
    other, _ = worker_token_create(pool=shop.worker.pool, reusable=True)
    call_command("workers", "end-tokens", pool="fast", stdout=StringIO())
    assert {row.state for row in WorkerToken.objects.filter(pk__in=[row.pk, other.pk])} == {
        "expired"
    }
    refused = APIClient().post("/api/v1/agents/register", {**HOST, "token": token, "name": "x"})
    assert refused.status_code == 403


def test_a_one_time_token_does_not_give_somebody_elses_name(shop: Shop) -> None:
    registered(shop, "gpu")
    _, reusable = worker_token_create(pool=shop.worker.pool, reusable=True)
    answer = APIClient().post("/api/v1/agents/register", {**HOST, "token": reusable, "name": "gpu"})
    assert answer.json()["name"] == "gpu-2"


def test_the_owner_of_a_pool_ends_its_tokens(shop: Shop) -> None:
    owner, viewer = APIClient(), APIClient()
    owner.force_login(shop.owner)
    looks = User.objects.create_user("sees@example.com")
    member_set(organisation=shop.organisation, user=looks, role=Role.VIEWER)
    viewer.force_login(looks)
    made = owner.post("/api/v1/worker-tokens", {"pool": "fast", "reusable": True, "hours": 8784})
    assert made.status_code == 201, made.content
    assert made.json()["reusable"] is True
    path = f"/api/v1/worker-tokens/{made.json()['id']}"
    assert viewer.delete(path).status_code == 403
    assert owner.delete(path).status_code == 204
    assert owner.get(path).json()["state"] == "expired"


def test_tokens_are_made_by_who_alone_sells_on_the_pool(shop: Shop) -> None:
    owner, viewer, staff = (APIClient() for _ in range(3))
    owner.force_login(shop.owner)
    looks = User.objects.create_user("viewer@example.com")
    member_set(organisation=shop.organisation, user=looks, role=Role.VIEWER)
    viewer.force_login(looks)
    staff.force_login(User.objects.create_user("staff@example.com", is_staff=True))

    def status(client: APIClient, **asked: object) -> int:
        return client.post("/api/v1/worker-tokens", {"pool": "fast", **asked}).status_code

    assert [status(client) for client in (owner, viewer, staff)] == [201, 403, 201]
    assert status(owner, hours=HOURS_MAX + 1) == 400
    assert status(owner, pool="nowhere") == 404
    rival = organisation_create(
        name="Rival", slug="rival", owner=User.objects.create_user("rival@example.com")
    )
    provider = provider_create(slug="rival", name="Rival")
    provider.organisation = rival
    provider.save()
    Deployment.objects.create(
        version=shop.deployment.version,
        provider=provider,
        pool=shop.worker.pool,
        upstream_model="slug",
    )
    assert [status(client) for client in (owner, staff)] == [404, 201]


def test_the_page_shows_a_new_token_once_and_revokes(shop: Shop) -> None:
    client = signed_in(shop.owner)
    page = "/pools/fast/workers"
    assert client.post(page, follow=True).status_code == 200
    client.post(page)
    shown = client.get(page).content.decode()
    (token,) = re.findall(r"wp_worker_[\w-]+", shown)
    assert "wp_worker_" not in client.get(page).content.decode()
    answer = APIClient().post("/api/v1/agents/register", {**HOST, "token": token, "name": "gpu"})
    assert answer.status_code == 201
    assert "NVIDIA H200" in client.get(page).content.decode()
    revoke = "/pools/fast/agents/gpu/revoke"
    assert "permanently" in client.post(revoke).content.decode()
    client.post(revoke, {"confirmed": "1"})
    assert Agent.objects.get().revoked_at is not None
    stranger = signed_in(User.objects.create_user("stranger@example.com"))
    assert stranger.get(page).status_code == 404
    assert stranger.post(revoke).status_code == 404


def test_the_command_line_makes_tokens_lists_and_revokes(shop: Shop) -> None:
    def said(*words: str) -> str:
        out = StringIO()
        call_command("workers", *words, stdout=out)
        return out.getvalue()

    token = said("token", "--pool", "fast", "--hours", "1").strip()
    answer = APIClient().post("/api/v1/agents/register", {**HOST, "token": token, "name": "gpu"})
    assert answer.status_code == 201
    assert said("list").startswith("gpu\tfast\tregistered\tnever seen")
    assert "revoked" in said("revoke", "gpu")
    with pytest.raises(CommandError, match="no pool is called 'slow'"):
        said("token", "--pool", "slow")
