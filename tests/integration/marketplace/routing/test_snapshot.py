"""What is published, when, and that the router's contract reads it."""

import json
from datetime import timedelta

import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from marketplace.accounts.models import Organisation
from marketplace.accounts.services import (
    api_key_create,
    api_key_revoke,
    api_key_update,
    organisation_keep_responses,
)
from marketplace.benchmarks.models import Profile
from marketplace.catalog.models import AIModel, Deployment, ModelVersion, Pool
from marketplace.catalog.services import (
    HealthReading,
    offer_publish,
    worker_drain,
    worker_health_record,
)
from marketplace.routing.models import Policy, PolicyKind, PolicyState, SnapshotRow
from marketplace.routing.services import policy_publish, snapshot_publish
from router.contracts.snapshot import SNAPSHOT_CHANNEL, Snapshot, decode_snapshot
from router.domain import catalog as wire
from router.domain.catalog import EngineCurve, RateLimits
from router.domain.keys import digest_key
from router.domain.pricing import Price
from tests.integration.marketplace.ledger import as_owner, call
from tests.integration.marketplace.shop import Shop


def published() -> Snapshot:
    row = SnapshotRow.objects.first()
    assert row is not None
    return decode_snapshot(json.dumps(row.body))


def test_the_router_reads_what_was_published(shop: Shop) -> None:
    row = snapshot_publish()
    snapshot = published()
    assert snapshot.version == row.version
    assert [model.name for model in snapshot.models] == ["author/slug"]
    assert snapshot.workers[0].url == "http://127.0.0.1:9"
    (deployment,) = snapshot.deployments
    assert deployment.provider_account_id == shop.provider_account.pk
    assert deployment.price.prompt_nano_per_million == 20_000_000
    assert deployment.commission_bps == 1_000


def test_the_same_catalog_is_not_published_twice(shop: Shop) -> None:
    version = snapshot_publish().version
    assert snapshot_publish().version == version


def test_old_snapshots_are_forgotten(shop: Shop) -> None:
    for cents in range(60):
        offer_publish(deployment=shop.deployment, price=Price(id=0, request_nano=cents + 1))
    assert SnapshotRow.objects.count() == 50


def test_a_new_price_supersedes_and_a_future_one_waits(shop: Shop) -> None:
    offer_publish(deployment=shop.deployment, price=Price(id=0, request_nano=5))
    later = timezone.now() + timedelta(hours=1)
    offer_publish(deployment=shop.deployment, price=Price(id=0, request_nano=9), effective_at=later)
    assert published().deployments[0].price.request_nano == 5


def test_a_published_price_is_never_changed(shop: Shop) -> None:
    offer = shop.deployment.offers.get()
    for statement in (
        "UPDATE catalog_offer SET request_nano = 0 WHERE id = %s",
        "DELETE FROM catalog_offer WHERE id = %s",
    ):
        for way, found in ((call, "permission denied"), (as_owner, "publish a new offer")):
            with pytest.raises(DatabaseError, match=found), transaction.atomic():
                way(statement, offer.pk)


def test_keys_come_and_go(shop: Shop) -> None:
    row, key = api_key_create(organisation=shop.organisation, name="k", models_allowed=["a/b"])
    (wire,) = published().keys
    assert wire.digest == digest_key(key, django_settings.WAYPOST_KEY_PEPPER)
    assert (wire.account_id, wire.models) == (shop.customer_account.pk, ("a/b",))
    api_key_revoke(api_key=row)
    assert published().keys == ()


def test_limits_reach_the_routers_and_leave_again(shop: Shop) -> None:
    row, _ = api_key_create(organisation=shop.organisation, name="k", calls_at_once=2)
    Organisation.objects.update(tokens_per_minute=900)
    snapshot_publish()
    snapshot = published()
    assert snapshot.keys[0].limits == RateLimits(calls_at_once=2)
    assert snapshot.organisations == (
        wire.Organisation(shop.organisation.pk, RateLimits(tokens_per_minute=900)),
    )
    Organisation.objects.update(tokens_per_minute=None)
    api_key_update(api_key=row, calls_at_once=None, requests_per_minute=7)
    snapshot = published()
    assert snapshot.keys[0].limits == RateLimits(requests_per_minute=7)
    assert snapshot.organisations == ()


def test_routers_hear_at_once_which_organisations_keep_no_responses(shop: Shop) -> None:
    organisation_keep_responses(organisation=shop.organisation, keeps=False)
    assert published().organisations == (
        wire.Organisation(shop.organisation.pk, keeps_responses=False),
    )
    organisation_keep_responses(organisation=shop.organisation, keeps=True)
    assert published().organisations == ()


def test_the_latest_policy_and_published_profile_are_in_force(shop: Shop) -> None:
    policy_publish(model=shop.model, kind=PolicyKind.ROUND_ROBIN)
    policy_publish(
        model=shop.model,
        kind=PolicyKind.LEAST_OUTSTANDING,
        wait_weight=8.0,
        usd_weight_s=3.0,
        hedge_share=0.01,
        shared=True,
    )
    Profile.objects.create(
        deployment=shop.deployment, service_ms=80, source="measured", published=True
    )
    Profile.objects.create(deployment=shop.deployment, service_ms=10, source="a draft")
    snapshot_publish()
    (policy,) = published().policies
    assert (policy.kind, policy.version) == ("least_outstanding", 2)
    assert (policy.wait_weight, policy.usd_weight_s) == (8.0, 3.0)
    assert (policy.hedge_share, policy.shared) == (0.01, True)
    assert published().deployments[0].service_prior_ms == 80


def test_a_worker_is_unhealthy_from_the_second_failed_probe_on(shop: Shop) -> None:
    down = HealthReading(shop.worker.pk, "ConnectError")
    assert worker_health_record(readings=[down]) == []
    assert worker_health_record(readings=[down]) == ["fast-0"]
    assert not published().workers[0].healthy
    assert worker_health_record(readings=[HealthReading(shop.worker.pk)]) == ["fast-0"]
    assert published().workers[0].healthy


def test_a_pool_says_which_server_runs_there(shop: Shop) -> None:
    snapshot_publish()
    assert [pool.engine for pool in published().pools] == ["llama.cpp"]


def test_a_drained_worker_is_published_as_draining(shop: Shop) -> None:
    worker_drain(worker=shop.worker, draining=True, confirmed=True)
    assert published().workers[0].draining


def test_emulated_models_are_left_out_when_switched_off(shop: Shop, settings: object) -> None:
    pool = Pool.objects.create(name="emulated-h100", hardware="H100", engine="e", emulated=True)
    model = AIModel.objects.create(name="emulated/x", display_name="X", task="chat", emulated=True)
    deployment = Deployment.objects.create(
        version=ModelVersion.objects.create(model=model, version="1"),
        provider=shop.provider,
        pool=pool,
        upstream_model="x",
    )
    offer_publish(deployment=deployment, price=Price(id=0))
    assert {m.name for m in published().models} == {"author/slug", "emulated/x"}
    settings.WAYPOST_EMULATED = False  # type: ignore[attr-defined]
    snapshot_publish()
    assert {m.name for m in published().models} == {"author/slug"}


def test_routers_are_told_at_commit(committed_shop: Shop) -> None:
    listener = psycopg.connect(
        **{
            key: value
            for key, value in connection.get_connection_params().items()
            if key in {"host", "port", "user", "password", "dbname"}
        },
        autocommit=True,
    )
    with listener:
        listener.execute(f"LISTEN {SNAPSHOT_CHANNEL}")
        worker_drain(worker=committed_shop.worker, draining=True, confirmed=True)
        (notice,) = listener.notifies(timeout=120, stop_after=1)
        latest = SnapshotRow.objects.first()
        assert latest is not None
        assert notice.payload == str(latest.version)


def test_a_policy_under_trial_is_published_beside_the_one_in_force(shop: Shop) -> None:
    model = AIModel.objects.get()
    policy_publish(model=model, kind=PolicyKind.LATE_BINDING)
    weights = {str(Deployment.objects.get().pk): 1.2}
    tried = Policy.objects.create(
        model=model,
        version=9,
        kind=PolicyKind.LATE_BINDING,
        weights=weights,
        state=PolicyState.CANARY,
        canary_share=0.1,
    )
    snapshot_publish()
    snapshot = published()
    assert [policy.id for policy in snapshot.policies] != [tried.pk]
    (canary,) = snapshot.canaries
    assert (canary.share, canary.policy.id) == (0.1, tried.pk)
    assert canary.policy.weights == {Deployment.objects.get().pk: 1.2}

    newer = policy_publish(model=model, kind=PolicyKind.LATE_BINDING, note="a person's")
    assert newer.version == 10
    tried.refresh_from_db()
    assert tried.state == PolicyState.DISMISSED
    assert published().canaries == ()


@pytest.mark.parametrize("weights", [[1], {"x": 1}, {"1": 0.01}, {"1": "2"}, {"1": True}])
def test_weights_that_make_no_sense_are_refused(shop: Shop, weights: object) -> None:
    policy = Policy(model=AIModel.objects.get(), version=9, kind="late_binding", weights=weights)
    with pytest.raises(ValidationError) as refused:
        policy.full_clean()
    assert "weights" in refused.value.message_dict


def test_what_was_measured_of_an_engine_reaches_the_router(shop: Shop) -> None:
    row = Deployment.objects.get()
    Profile.objects.all().delete()
    snapshot_publish()
    assert published().deployments[0].engine_prior is None
    sums = {"told": [True] * 4, "missed": 0.1}
    Profile.objects.create(
        deployment=row,
        service_ms=50.0,
        engine={
            "first": {"weights": [0.01, 0.002, 0.25], **sums},
            "step": {"weights": [0.02, 0.001, 0.003, 0.2], **sums},
            "answers": 200,
            "at_once": 8,
            "context_tokens": 500.0,
            "event_tokens": 2.0,
        },
        source="test",
        published=True,
    )
    snapshot_publish()
    curve = EngineCurve((0.01, 0.002, 0.25), (0.02, 0.001, 0.003, 0.2), 2.0)
    assert published().deployments[0].engine_prior == curve


def test_an_expired_profile_is_no_prior_any_more(shop: Shop) -> None:
    row = Deployment.objects.get()
    Profile.objects.all().delete()
    common = {"deployment": row, "source": "test", "published": True}
    Profile.objects.create(service_ms=70.0, **common)
    newest = Profile.objects.create(
        service_ms=50.0,
        batch_curve=[[2, 1.5], [4, 2.5]],
        expires_at=timezone.now() + timedelta(hours=1),
        **common,
    )
    snapshot_publish()
    (deployment,) = published().deployments
    assert deployment.service_prior_ms == 50.0
    assert deployment.batch_curve == ((2, 1.5), (4, 2.5))
    newest.expires_at = timezone.now()
    newest.save()
    snapshot_publish()
    (deployment,) = published().deployments
    assert (deployment.service_prior_ms, deployment.batch_curve) == (70.0, ())
