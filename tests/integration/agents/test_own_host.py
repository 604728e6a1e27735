"""An organisation's own host: a real agent, real llama.cpp, real pages and a real router."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.integration.agents.conftest import MODEL, OWN_NETWORKS, UPSTREAM, Market
from tests.integration.agents.test_agent import STARTED
from tests.integration.router.routers import until
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from marketplace.endpoints.models import OwnEndpoint

OWN = "~acme/llama"
KEY = "sk-of-the-host-0123456789"


@pytest.fixture
def endpoint(market: Market, settings: Any) -> Iterator[OwnEndpoint]:
    """Acme's, first for the market's model, without a host."""
    from marketplace.accounts.models import Organisation
    from marketplace.catalog.models import AIModel
    from marketplace.endpoints.services import own_endpoint_list, own_endpoint_remove

    settings.WAYPOST_ENDPOINT_NETWORKS = [OWN_NETWORKS]
    row = own_endpoint_list(
        organisation=Organisation.objects.get(slug="acme"),
        slug="llama",
        task="chat",
        hosted=True,
        key=KEY,
        upstream_model=UPSTREAM,
        stands_for=AIModel.objects.get(name=MODEL),
    )
    yield row
    own_endpoint_remove(endpoint=row)


def own_token(endpoint: OwnEndpoint) -> str:
    from marketplace.agents.tokens import worker_token_create

    return worker_token_create(endpoint=endpoint)[1]


def rivals_key() -> str:
    """Of another organisation, with credit."""
    from marketplace.accounts.models import User
    from marketplace.accounts.services import api_key_create, organisation_create
    from tests.integration.marketplace.ledger import USD, credit_grant

    owner = User.objects.create_user("rival@example.com")
    rival = organisation_create(name="Rival", slug="rival", owner=owner)
    credit_grant(organisation=rival, amount_nano=USD, idem_key="rival")
    return api_key_create(organisation=rival, name="caller")[1]


def own_routed() -> set[str]:
    """The servers of own hosts that routers may use."""
    from marketplace.endpoints.models import OwnWorker

    rows = OwnWorker.objects.filter(healthy=True, draining=False)
    return set(rows.values_list("worker_id", flat=True))


def test_a_host_serves_its_organisation_first_and_alone_and_drains_to_the_market(
    market: Market, endpoint: OwnEndpoint, llama_url: str
) -> None:
    from marketplace.endpoints.selectors import own_figures
    from marketplace.usage.models import UsageEvent

    adopted = ["--engine", "llama_cpp", "--served-name", UPSTREAM, "--adopt", llama_url]
    market.agent("market", "--token", market.token(), *adopted)
    token = own_token(endpoint)
    own = market.agent("own", "--token", token, *STARTED, WAYPOST_SERVER_KEY=KEY)
    server = f"{endpoint.place}.own-a"
    market.probed_until(lambda: own_routed() == {server} and market.routed() == {"market-a"})
    until(lambda: {server, "market-a"} <= _known(market))
    # By its own name, and first for what it stands for.
    assert market.call(OWN) == server
    assert market.call() == server
    rival = rivals_key()
    until(lambda: _is_known(market, rival))
    with pytest.raises(openai.NotFoundError) as unknown:
        market.call(OWN, rival)
    assert "does not exist" in str(unknown.value)
    assert market.call(MODEL, rival) == "market-a"
    thief = market.agent("thief", "--token", token, *STARTED)
    assert thief.process.wait(PATIENCE_S) == 2
    assert "was already used" in thief.said
    market.agents.remove(thief)
    # Without a failed call.
    with market.caller() as answered:
        until(lambda: server in answered)
        own.send(signal.SIGTERM)
        assert own.process.wait(PATIENCE_S) == 0, own.said
        seen = len(answered)
        until(lambda: len(answered) > seen)
    assert set(answered) == {server, "market-a"}
    assert answered[-1] == "market-a"
    with pytest.raises(openai.InternalServerError) as nobody:
        market.call(OWN)
    assert "takes calls now" in str(nobody.value)
    assert KEY not in own.said
    # Metered and charged as every endpoint of its own.
    mine = UsageEvent.objects.filter(model=OWN, outcome="completed")
    until(lambda: mine.count() >= 2 + answered.count(server))
    assert set(mine.values_list("deployment_id", "charge_nano")) == {(endpoint.deployment_id, 0)}
    figures = own_figures(endpoint.organisation)[endpoint.deployment_id]
    assert figures.total_ms_p50 > 0


def test_calls_go_to_the_market_when_a_host_falls_silent_and_back(
    market: Market, endpoint: OwnEndpoint, llama_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server itself still runs: it was adopted."""
    from datetime import timedelta

    from marketplace.catalog import heartbeats

    adopted = ["--engine", "llama_cpp", "--served-name", UPSTREAM, "--adopt", llama_url]
    market.agent("market", "--token", market.token(), *adopted)
    own = market.agent("silent", "--token", own_token(endpoint), *adopted)
    server = f"{endpoint.place}.silent-a"
    market.probed_until(lambda: own_routed() == {server} and market.routed() == {"market-a"})
    until(lambda: {server, "market-a"} <= _known(market))
    assert market.call() == server
    monkeypatch.setattr(heartbeats, "SILENT_AFTER", timedelta(seconds=6))
    own.send(signal.SIGKILL)
    market.probed_until(lambda: own_routed() == set())
    until(lambda: market.call() == "market-a")
    market.agent("silent", *adopted)
    market.probed_until(lambda: own_routed() == {server})
    until(lambda: market.call() == server)


def _known(market: Market) -> set[str]:
    return {worker["id"] for worker in market.router.state()["workers"]}


def _is_known(market: Market, key: str) -> bool:
    """Whether the router has a key that was just made."""
    try:
        market.call("nobody/nothing", key)
    except openai.AuthenticationError:
        return False
    except openai.NotFoundError:
        return True
    raise AssertionError("there is no such model")
