"""A listing from its draft to live, what it refuses, and who may do what: service, page, API."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from marketplace.accounts.models import Membership, Role, Scope, User
from marketplace.accounts.services import api_key_create, organisation_create
from marketplace.audit.models import AuditEntry
from marketplace.benchmarks.runs.job import benchmark_run
from marketplace.catalog.models import AIModel, Deployment, DeploymentStatus, Provider, Worker
from marketplace.providers import tasks as tasks  # registers the kind of job
from marketplace.providers.listings.checking import listing_check
from marketplace.providers.listings.states import ListingAction, ListingState, Who
from marketplace.providers.models import ConformanceResult, ConformanceRun, Listing, ListingEvent
from marketplace.providers.services import (
    SYSTEM,
    Actor,
    listing_act,
    listing_update,
    listings_follow,
    provider_open,
)
from marketplace.routing.models import SnapshotRow
from marketplace.shared.jobs.kinds import job_kinds
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_run_next
from tests.integration.marketplace.providers.servers import fake_openai
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")

A = ListingAction
Draft = Callable[..., Listing]


def act(listing: Listing, action: str, who: Who = Who.PROVIDER, why: str = "") -> Listing:
    return listing_act(listing=listing, action=action, actor=Actor(who, f"{who}@x"), why=why)


def at(url: str) -> dict[str, Any]:
    return {"url": url, "protocol": "openai", "slots": 1}


def checked(draft: Draft, **values: Any) -> Listing:
    listing = act(draft(**values), A.SUBMIT)
    job_run_next(ConformanceRun)
    listing.refresh_from_db()
    return listing


def measured(listing: Listing) -> Listing:
    """As if the benchmark had run."""
    listing = act(listing, A.BENCHMARK)
    assert listing.benchmark is not None
    listing.benchmark.state = JobState.SUCCEEDED
    listing.benchmark.save()
    assert listings_follow() == [listing.pk]
    listing.refresh_from_db()
    return listing


def sold() -> set[str]:
    newest = SnapshotRow.objects.first()
    return {row["model"] for row in newest.body["deployments"]} if newest else set()


def test_the_whole_way_ends_on_sale_and_is_on_record(draft: Draft) -> None:
    listing = checked(draft)
    assert listing.state == ListingState.CHECKED
    deployment = listing.deployment
    assert deployment is not None
    assert deployment.status == DeploymentStatus.PAUSED
    assert not deployment.version.model.published
    assert "harbour/sea-1" not in sold()

    listing = act(measured(listing), A.REQUEST_REVIEW)
    listing = act(listing, A.APPROVE, Who.STAFF)

    assert listing.state == ListingState.LIVE
    assert "harbour/sea-1" in sold()
    assert AIModel.objects.get(name="harbour/sea-1").published
    offer = deployment.offers.get()
    assert offer.completion_nano_per_million == 60_000_000
    assert Worker.objects.get(pool__name="harbour-cpu").worker_id == "harbour-cpu-0"
    history = listing.events.order_by("id").values_list("action", "actor")
    assert list(history) == [
        ("submit", "provider@x"),
        ("pass", "system"),
        ("benchmark", "provider@x"),
        ("measured", "system"),
        ("request-review", "provider@x"),
        ("approve", "staff@x"),
    ]
    newest = AuditEntry.objects.filter(content_type__model="listing").latest("id")
    assert newest.organisation == listing.provider.organisation
    assert newest.changes == {"state": ["review", "live"]}


def test_pausing_takes_it_off_sale_and_resuming_puts_it_back(draft: Draft) -> None:
    listing = act(act(measured(checked(draft)), A.REQUEST_REVIEW), A.APPROVE, Who.STAFF)
    act(listing, A.PAUSE)
    assert "harbour/sea-1" not in sold()
    act(listing, A.RESUME)
    assert "harbour/sea-1" in sold()
    act(listing, A.SUSPEND, Who.STAFF, why="complaints")
    assert "harbour/sea-1" not in sold()
    with pytest.raises(ValidationError, match="cannot resume"):
        act(listing, A.RESUME)
    act(listing, A.RETIRE)
    assert Deployment.objects.get(pk=listing.deployment_id).status == DeploymentStatus.RETIRED


def test_a_failed_check_sends_it_back_to_its_draft(draft: Draft) -> None:
    with fake_openai("no_usage") as url:
        listing = checked(draft, endpoints=[{"url": url, "protocol": "openai", "slots": 1}])
    assert listing.state == ListingState.DRAFT
    assert listing.deployment is None
    event = listing.events.first()
    assert event is not None
    assert (event.action, event.actor) == ("fail", "system")
    assert "checks failed" in event.why


def test_a_check_is_cancelled_and_what_it_found_is_kept(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = act(draft(), A.SUBMIT)
    run = ConformanceRun.objects.get()

    def cancelled_meanwhile(targets: Any, policy: Any, *, tell: Any, is_cancelled: Any) -> None:
        from marketplace.providers.conformance.probing import Stopped

        assert not is_cancelled()
        act(listing, A.CANCEL)
        assert is_cancelled()
        raise Stopped

    check = replace(
        job_kinds[ConformanceRun], work=partial(listing_check, check=cancelled_meanwhile)
    )
    monkeypatch.setitem(job_kinds, ConformanceRun, check)
    job_run_next(ConformanceRun)
    run.refresh_from_db()
    listing.refresh_from_db()
    assert (run.state, listing.state) == (JobState.CANCELLED, ListingState.DRAFT)
    act(listing, A.SUBMIT)


def test_a_check_that_begins_again_keeps_no_result_twice(draft: Draft) -> None:
    listing = act(draft(), A.SUBMIT)
    run = ConformanceRun.objects.get()
    ConformanceResult.objects.create(run=run, check_name="usage", verdict="fail", code="ok")
    job_run_next(ConformanceRun)
    listing.refresh_from_db()
    assert listing.state == ListingState.CHECKED
    found = list(run.results.values_list("check_name", flat=True))
    assert found.count("usage") == 1


def test_a_check_whose_rows_cannot_be_laid_out_sends_the_listing_back(draft: Draft) -> None:
    listing = act(draft(), A.SUBMIT)
    Listing.objects.filter(pk=listing.pk).update(pool_name="no name of a pool!")
    job_run_next(ConformanceRun)
    listing.refresh_from_db()
    run = ConformanceRun.objects.get()
    assert (run.state, listing.state) == (JobState.FAILED, ListingState.DRAFT)
    assert listing.deployment is None


@pytest.mark.parametrize("slug", ["harbour", "quay"])
def test_a_new_pool_is_that_of_the_listing_whose_check_ends_first(
    draft: Draft, shop: Shop, slug: str
) -> None:
    first = act(draft(), A.SUBMIT)
    provider = first.provider
    if slug == "quay":
        provider = provider_open(organisation=shop.organisation, slug="quay", name="Quay")
    with fake_openai() as url:
        second = draft(model_name=f"{slug}/sea-2", region="elsewhere", endpoints=[at(url)])
        second.provider = provider
        second.save()
        act(second, A.SUBMIT)
        for _ in range(2):
            job_run_next(ConformanceRun)
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == (ListingState.CHECKED, ListingState.DRAFT)
    event = second.events.first()
    assert event is not None
    assert "made a pool harbour-cpu" in event.why
    worker = Worker.objects.get(pool__name="harbour-cpu")
    assert (worker.url, worker.pool.region) == (first.endpoints[0]["url"], "local")


def test_a_changed_listing_is_checked_again_and_keeps_its_rows(draft: Draft) -> None:
    listing = act(checked(draft), A.REVISE)
    listing_update(listing=listing, description="More words.", completion_nano_per_million=7)
    listing = act(listing, A.SUBMIT)
    job_run_next(ConformanceRun)
    listing.refresh_from_db()
    assert listing.state == ListingState.CHECKED
    assert AIModel.objects.get(name="harbour/sea-1").description == "More words."
    assert Deployment.objects.filter(provider__slug="harbour").count() == 1
    assert listing.deployment is not None
    newest = listing.deployment.offers.first()
    assert newest is not None
    assert newest.completion_nano_per_million == 7


def test_a_model_of_another_provider_is_offered_too(draft: Draft, shop: Shop) -> None:
    listing = checked(draft, existing_model=shop.model, version="1", model_name="")
    assert listing.state == ListingState.CHECKED
    assert listing.deployment is not None
    assert listing.deployment.version == shop.deployment.version


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"model_name": "author/other"}, "model_name"),
        ({"model_name": ""}, "model_name"),
        ({"model_name": "harbour/Sea"}, "model_name"),
        ({"completion_tokens_max": 0}, "completion_tokens_max"),
        ({"version": ""}, "version"),
        ({"pool_name": "fast"}, "pool_name"),
        ({"hardware": ""}, "hardware"),
        ({"endpoints": []}, "endpoints"),
        ({"endpoints": [{"url": "http://x", "protocol": "smtp", "slots": 1}]}, "endpoints"),
        ({"endpoints": [{"url": "grpc://x", "protocol": "openai", "slots": 1}]}, "endpoints"),
        (
            {"endpoints": [at("http://10.0.0.1")]},
            "endpoints",
        ),
        (
            {"endpoints": [at("http://169.254.169.254")]},
            "endpoints",
        ),
        ({"upstream_model": ""}, "upstream_model"),
        ({"prompt_nano_per_million": 0, "completion_nano_per_million": 0}, "prices"),
        ({"tensors": {"inputs": [{"name": "x", "datatype": "FP9", "shape": [1]}]}}, "tensors"),
        ({"tensors": {"inputs": [{"name": "x"}]}}, "tensors"),
    ],
)
def test_what_a_draft_lacks_is_said_by_field(
    draft: Draft, values: dict[str, Any], field: str
) -> None:
    listing = draft(**values)
    with pytest.raises(ValidationError) as refused:
        act(listing, A.SUBMIT)
    assert set(refused.value.message_dict) == {field}
    assert not ConformanceRun.objects.exists()


def test_loopback_is_refused_where_the_installation_does_not_allow_it(
    draft: Draft, settings: Any
) -> None:
    settings.ROUTER_UPSTREAM_NETWORKS = []
    with pytest.raises(ValidationError, match="internal address"):
        act(draft(), A.SUBMIT)


def test_staff_give_a_reason_and_what_happened_is_never_changed(draft: Draft) -> None:
    listing = act(measured(checked(draft)), A.REQUEST_REVIEW)
    with pytest.raises(ValidationError, match="Give a reason"):
        act(listing, A.SEND_BACK, Who.STAFF)
    act(listing, A.SEND_BACK, Who.STAFF, why="a better name")
    event = ListingEvent.objects.first()
    assert event is not None
    assert event.why == "a better name"
    with pytest.raises(ValidationError):
        event.save()


def test_the_database_knows_the_states(draft: Draft) -> None:
    listing = draft()
    for state in ("sold", ListingState.LIVE):
        listing.state = state
        with pytest.raises(IntegrityError), transaction.atomic():
            listing.save()


def test_a_failed_benchmark_leaves_it_checked(draft: Draft) -> None:
    listing = act(checked(draft), A.BENCHMARK)
    assert listing.benchmark is not None
    listing.benchmark.state, listing.benchmark.error = JobState.FAILED, "no slots"
    listing.benchmark.save()
    listings_follow()
    listing.refresh_from_db()
    assert listing.state == ListingState.CHECKED
    assert listing.events.first().why == "no slots"  # type: ignore[union-attr]
    with pytest.raises(ValidationError, match="for provider"):
        listing_act(listing=measured(listing), action=A.REQUEST_REVIEW, actor=SYSTEM)


def test_a_listing_moves_on_as_its_benchmark_ends(
    draft: Draft, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    listing = act(checked(draft), A.BENCHMARK)
    assert listing.benchmark is not None
    # Its run fails at once.
    settings.ROUTER_UPSTREAM_NETWORKS = []
    with django_capture_on_commit_callbacks(execute=True):
        benchmark_run(listing.benchmark)
    listing.refresh_from_db()
    assert listing.state == ListingState.CHECKED
    entry = AuditEntry.objects.filter(content_type__model="listing").latest("id")
    assert (entry.source, entry.actor_name) == ("job", "providers.follow_benchmarks")


def test_an_author_that_exists_is_nobodys_to_take(shop: Shop) -> None:
    with pytest.raises(ValidationError) as refused:
        provider_open(organisation=shop.organisation, slug="author", name="Me")
    assert "slug" in refused.value.message_dict


# --- pages ------------------------------------------------------------------------------------


@pytest.fixture
def stranger(db: None) -> User:
    user = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=user)
    return user


def test_becoming_a_provider_and_saving_a_draft_half_done(shop: Shop) -> None:
    client = signed_in(shop.owner)
    assert b"Become a provider" in client.get("/provide").content
    made = client.post("/provide/providers", {"slug": "quay", "name": "Quay", "description": ""})
    assert made.status_code == 302
    begun = client.post("/provide/listings", {"provider": "quay"})
    edit = begun["location"]
    fields = {
        "endpoints-TOTAL_FORMS": "2",
        "endpoints-INITIAL_FORMS": "0",
        "endpoints-0-protocol": "openai",
        "endpoints-0-slots": "1",
        "endpoints-1-protocol": "openai",
        "endpoints-1-slots": "1",
        "model_name": "quay/one",
        "prompt_nano_per_million": "0,03",
    }
    assert client.post(edit, {**fields, "save": ""}).status_code == 302
    listing = Listing.objects.get()
    assert (listing.model_name, listing.prompt_nano_per_million) == ("quay/one", 30_000_000)
    refused = client.post(edit, {**fields, "submit": ""})
    assert refused.status_code == 422
    assert refused.content.count(b"This field is required.") > 5
    assert b"Enter at least one endpoint." in refused.content


def test_pages_are_for_the_provider_and_changes_for_those_who_may(
    draft: Draft, shop: Shop, stranger: User
) -> None:
    listing = draft()
    assert listing.pk
    pages = [
        f"/provide/listings/{listing.pk}",
        f"/provide/listings/{listing.pk}/edit",
        "/provide/providers/harbour",
    ]
    for page in pages:
        assert signed_in(shop.owner).get(page).status_code == 200
        assert signed_in(stranger).get(page).status_code == 404
    act_url = f"/provide/listings/{listing.pk}/act"
    assert signed_in(stranger).post(act_url, {"action": "retire"}).status_code == 404
    viewer = User.objects.create_user("viewer@example.com")
    Membership.objects.create(organisation=shop.organisation, user=viewer, role=Role.VIEWER)
    assert signed_in(viewer).get(pages[0]).status_code == 200
    assert signed_in(viewer).post(act_url, {"action": "retire"}).status_code == 403
    assert signed_in(shop.owner).get("/reviews").status_code == 403
    listing.refresh_from_db()
    assert listing.is_draft


def test_staff_review_over_pages(draft: Draft, shop: Shop) -> None:
    listing = act(measured(checked(draft)), A.REQUEST_REVIEW)
    staff = User.objects.create_user("staff@example.com", is_staff=True)
    client = signed_in(staff)
    assert b"harbour/sea-1" in client.get("/reviews").content
    assert b"Supports stop" in client.get(f"/reviews/{listing.pk}").content
    act_url = f"/reviews/{listing.pk}/act"
    client.post(act_url, {"action": "send-back", "why": ""})
    listing.refresh_from_db()
    assert listing.state == ListingState.REVIEW
    client.post(act_url, {"action": "send-back", "why": "Say more of it."})
    shown = signed_in(shop.owner).get(f"/provide/listings/{listing.pk}").content.decode()
    assert "Say more of it." in shown
    assert "staff@example.com" in shown
    client.post("/reviews/providers/harbour/commission", {"percent": "12,5"})
    listing.provider.refresh_from_db()
    assert listing.provider.commission_bps == 1_250


def test_the_overview_asks_as_often_for_many_as_for_few(draft: Draft, shop: Shop) -> None:
    from django.db import connection

    client = signed_in(shop.owner)
    draft()
    client.get("/provide")
    with CaptureQueriesContext(
        connection,
    ) as few:
        client.get("/provide")
    for number in range(8):
        draft(model_name=f"harbour/sea-{number}")
    with CaptureQueriesContext(connection) as many:
        client.get("/provide")
    assert len(many) == len(few)


# --- API --------------------------------------------------------------------------------------


def api(user: User) -> APIClient:
    client = APIClient()
    client.force_login(user)
    return client


def test_the_api_takes_the_same_way(draft: Draft, shop: Shop, stranger: User) -> None:
    draft()
    owner = api(shop.owner)
    (row,) = owner.get("/api/v1/listings").json()["results"]
    path = f"/api/v1/listings/{row['id']}"
    assert owner.patch(path, {"display_name": "Sea One"}).json()["display_name"] == "Sea One"
    assert api(stranger).get(path).status_code == 404
    assert api(stranger).post(f"{path}/submit").status_code == 404
    assert owner.get(f"{path}/check").status_code == 404
    assert owner.post(f"{path}/submit").json()["state"] == "checking"
    assert owner.post(f"{path}/approve").status_code == 403
    refused = owner.post(f"{path}/resume")
    assert refused.status_code == 400
    assert "possible: cancel" in refused.json()["detail"]
    job_run_next(ConformanceRun)
    results = owner.get(f"{path}/check").json()["results"]
    assert {"plain_call", "usage", "stream"} <= {result["check_name"] for result in results}
    assert owner.patch(path, {"display_name": "Later"}).status_code == 400
    history = owner.get(f"{path}/history").json()
    assert [event["action"] for event in history] == ["pass", "submit"]


def test_a_management_key_publishes_in_its_own_name(draft: Draft, shop: Shop) -> None:
    listing = draft()
    _, key = api_key_create(
        organisation=shop.organisation, name="deploy", scopes=[Scope.MANAGEMENT]
    )
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    made = client.post("/api/v1/listings", {"provider": "harbour", "model_name": "harbour/x"})
    assert made.status_code == 201, made.json()
    assert client.post(f"/api/v1/listings/{listing.pk}/retire").json()["state"] == "retired"
    assert listing.events.get().actor == "key deploy"


def test_an_organisation_opens_and_describes_its_provider(shop: Shop, stranger: User) -> None:
    body = {"slug": "quay", "name": "Quay", "organisation": "acme"}
    assert api(stranger).post("/api/v1/providers", body).status_code == 404
    assert api(shop.owner).post("/api/v1/providers", body).status_code == 201
    path = "/api/v1/providers/quay"
    assert api(shop.owner).patch(path, {"description": "Near."}).json()["description"] == "Near."
    assert api(stranger).patch(path, {"description": "Mine."}).status_code == 404
    assert api(shop.owner).patch(path, {"commission_bps": 0}).status_code == 403
    staff = User.objects.create_user("staff@example.com", is_staff=True)
    assert api(staff).patch(path, {"commission_bps": 500}).status_code == 200
    for wrong, status in (({"name": "X"}, 404), ({"slug": "y"}, 400), ({"organisation": "z"}, 400)):
        assert api(staff).patch(path, {"commission_bps": 900, **wrong}).status_code == status
    assert Provider.objects.get(slug="quay").commission_bps == 500
    assert APIClient().get(path).status_code == 200
