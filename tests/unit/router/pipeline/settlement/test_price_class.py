"""Who pays the price of batches: a batch, for what it leaves to the priority of batches."""

import time

import pytest
from msgspec import structs

from router.contracts.snapshot import Snapshot
from router.domain.keys import SessionClaims, sign_session
from router.ports.upstream import Answer
from tests.unit.router.pipeline.line import (
    ACCOUNT,
    COST_NANO,
    KEY,
    PEPPER,
    USED,
    FakeClient,
    FakeUpstream,
    Line,
    chat,
    snapshot,
)

ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")


def discounted(bps: int = 2_500) -> Snapshot:
    shop = snapshot()
    return structs.replace(
        shop,
        deployments=tuple(
            structs.replace(
                deployment, price=structs.replace(deployment.price, batch_discount_bps=bps)
            )
            for deployment in shop.deployments
        ),
    )


def bearer(*, batch: bool, key_id: int = 0) -> str:
    claims = SessionClaims(1, ACCOUNT, 9, int(time.time()) + 3_600, key_id=key_id, batch=batch)
    return f"Bearer {sign_session(claims, PEPPER)}"


@pytest.mark.parametrize(
    ("authorization", "priority", "price_class", "share"),
    [
        (bearer(batch=True), "batch", "batch", 0.75),
        (bearer(batch=True, key_id=5), "batch", "batch", 0.75),
        (bearer(batch=True), "interactive", "standard", 1),
        (bearer(batch=False), "batch", "standard", 1),
        (f"Bearer {KEY}", "batch", "standard", 1),
    ],
)
async def test_only_a_batch_pays_less_and_only_at_the_priority_of_batches(
    authorization: str, priority: str, price_class: str, share: float
) -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=discounted())
    grant = line.gateway.authenticate(authorization)
    client = FakeClient()
    request = chat(provider={"priority": priority}, explain=True)
    await line.gateway.serve(grant, request, client)
    (record,) = line.records
    charge_nano = round(share * COST_NANO)
    assert (record.price_class, record.charge_nano) == (price_class, charge_nano)
    assert record.commission_nano == round(charge_nano / 10)
    assert client.report["price_class"] == price_class
    assert line.unresolved_nano == 0


async def test_less_is_held_for_a_batch() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=discounted(5_000))
    request = chat(provider={"priority": "batch"})
    most = line.gateway.planned(line.gateway.authenticate(f"Bearer {KEY}"), request).most_nano
    batch = line.gateway.planned(line.gateway.authenticate(bearer(batch=True)), request).most_nano
    assert most == 2 * batch > 0
