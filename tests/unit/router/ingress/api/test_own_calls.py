"""What a key is told of its calls, its spending and its budget."""

from uuid import uuid4

import httpx
import msgspec
import pytest

from router.adapters.memory import MemoryBudget
from router.domain.catalog import ApiKey, Budget
from router.domain.keys import digest_key
from tests.unit.router.ingress.api.edge import ANSWER, AUTH, CHAT, client_of
from tests.unit.router.pipeline.line import (
    ACCOUNT,
    FUNDS_NANO,
    PEPPER,
    USED,
    FakeUpstream,
    Line,
    snapshot,
)


async def test_a_call_is_told_with_its_decision_and_only_to_its_own(
    client: httpx.AsyncClient,
) -> None:
    call = await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
    id_ = call.headers["x-request-id"]
    found = (await client.get(f"/v1/generation?id={id_}", headers=AUTH)).json()["data"]
    assert (found["id"], found["model"], found["provider_name"]) == (id_, "a/m", "north")
    assert found["tokens_prompt"] == USED.prompt_tokens
    assert found["total_cost"] == int(call.headers["x-cost-nano-usd"]) / 1e9
    assert [attempt["status"] for attempt in found["attempts"]] == ["completed"]
    verdicts = {item["worker_id"]: item["verdict"] for item in found["decision"]}
    assert "chosen" in verdicts.values()
    assert verdicts["two-0"] == "slower"
    for wrong, status in (("", 422), ("?id=x", 404), (f"?id={uuid4()}", 404)):
        assert (await client.get(f"/v1/generation{wrong}", headers=AUTH)).status_code == status
    assert (await client.get(f"/v1/generation?id={id_}")).status_code == 401


async def test_anothers_call_looks_like_none() -> None:
    other = "another-key"
    catalog = snapshot()
    key = ApiKey(6, digest_key(other, PEPPER), organisation_id=2, account_id=ACCOUNT)
    line = Line(
        FakeUpstream(lambda _: ANSWER),
        catalog=msgspec.structs.replace(catalog, keys=(*catalog.keys, key)),
    )
    async with client_of(line) as client:
        call = await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
        path = f"/v1/generation?id={call.headers['x-request-id']}"
        refused = await client.get(path, headers={"authorization": f"Bearer {other}"})
        assert (await client.get(path, headers=AUTH)).status_code == 200
    assert refused.status_code == 404
    assert refused.json()["error"]["code"] == "call_not_found"


async def test_a_key_can_ask_what_it_has_spent_and_what_is_left() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    async with client_of(line) as client:
        call = await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
        await line.ledger.settle(line.records)
        cost = int(call.headers["x-cost-nano-usd"]) / 1e9
        key = (await client.get("/v1/key", headers=AUTH)).json()["data"]
        credit = (await client.get("/v1/credits", headers=AUTH)).json()["data"]
    assert key["usage"] == pytest.approx(cost)
    assert (key["id"], key["limit"], key["expires_at"]) == (5, None, None)
    assert credit["total_usage"] == pytest.approx(cost)
    assert credit["total_credits"] == pytest.approx(FUNDS_NANO / 1e9)


async def test_a_key_can_ask_what_is_left_of_its_budget() -> None:
    catalog = msgspec.structs.replace(
        snapshot(), budgets=(Budget(6, 1), Budget(7, 1, key_id=5), Budget(8, 1, user_id=5))
    )
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=catalog)
    line.ledger.budgets |= {id_: MemoryBudget(FUNDS_NANO) for id_ in (6, 8)}
    budget = line.ledger.budgets[7] = MemoryBudget(2_000_000_000)
    async with client_of(line) as client:
        call = await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
        await line.ledger.settle(line.records)
        cost = int(call.headers["x-cost-nano-usd"]) / 1e9
        key = (await client.get("/v1/key", headers=AUTH)).json()["data"]
        budget.limit_nano = budget.spent_nano + budget.held_nano
        refused = await client.post(
            "/v1/chat/completions", json={**CHAT, "max_tokens": 100}, headers=AUTH
        )
    assert budget.spent_nano > 0
    assert (key["limit"], key["limit_reset"]) == (2, "monthly")
    assert key["limit_remaining"] == pytest.approx(2 - cost)
    assert refused.status_code == 402
    assert refused.json()["error"]["code"] == "budget_exhausted"
