"""The audit log: what it records, about whom, and who may read it."""

import json
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import DatabaseError, models, transaction
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from marketplace.accounts.invitations.services import invitation_create
from marketplace.accounts.models import ApiKey, Membership, Role, Scope, User
from marketplace.accounts.services import (
    api_key_create,
    api_key_revoke,
    member_remove,
    member_set,
    organisation_create,
    organisation_rename,
    user_delete,
)
from marketplace.audit.acting import Source
from marketplace.audit.models import AuditEntry
from marketplace.audit.registry import AUDITED
from marketplace.audit.templatetags.audit import KINDS
from marketplace.billing.budgets.services import budget_set
from marketplace.catalog.models import Worker
from marketplace.catalog.services import HealthReading, worker_health_record
from marketplace.shared.jobs.current import acting_as
from tests.integration.marketplace.ledger import as_owner, call, intrude
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")


def last(**wanted: object) -> AuditEntry:
    return AuditEntry.objects.filter(**wanted).order_by("-id")[0]


def of(model: str) -> dict[str, object]:
    return {"content_type__model": model}


@pytest.fixture
def owner(shop: Shop) -> Client:
    return signed_in(shop.owner, REMOTE_ADDR="198.51.100.7")


def test_a_page_writes_down_who_what_and_whose(owner: Client, shop: Shop) -> None:
    owner.post("/organisation/rename", {"name": "Acme & Sons"})
    entry = last(**of("organisation"))
    assert entry.changes == {"name": ["Acme", "Acme & Sons"]}
    assert (entry.actor, entry.actor_name, entry.source) == (
        shop.owner,
        "owner@example.com",
        Source.PAGE,
    )
    assert (entry.organisation, entry.remote_addr) == (shop.organisation, "198.51.100.7")


def test_a_management_key_is_written_down_as_itself(shop: Shop) -> None:
    row, key = api_key_create(
        organisation=shop.organisation, name="terraform", scopes=[Scope.MANAGEMENT]
    )
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    made = client.post("/api/v1/keys", {"organisation": "acme", "name": "of a key"})
    assert made.status_code == 201
    entry = last(**of("apikey"))
    assert (entry.api_key, entry.actor, entry.source) == (row, None, Source.API)
    assert entry.actor_name == f"terraform ({row.masked})"


def test_a_key_is_never_in_the_log(shop: Shop) -> None:
    row, key = api_key_create(organisation=shop.organisation, name="secret")
    api_key_revoke(api_key=row)
    shop.owner.set_password("correct-horse-battery")
    shop.owner.save()
    written = json.dumps(list(AuditEntry.objects.values_list("changes", flat=True)))
    assert key not in written
    assert row.digest not in written
    assert shop.owner.password not in written
    assert last(**of("user")).changes == {"password": ["•••", "•••"]}
    assert "disabled_at" in last(**of("apikey")).changes


def test_a_job_and_a_command_are_written_down_as_such(shop: Shop) -> None:
    with acting_as("routing.publish"):
        budget_set(organisation=shop.organisation, limit_nano=5)
    entry = last(**of("budget"))
    assert (entry.source, entry.actor_name) == (Source.JOB, "routing.publish")
    organisation_rename(organisation=shop.organisation, name="Else")
    assert last(**of("organisation")).source == Source.COMMAND


def test_health_spending_and_last_use_are_no_changes(shop: Shop) -> None:
    row, _ = api_key_create(organisation=shop.organisation, name="busy")
    before = AuditEntry.objects.count()
    worker_health_record(readings=[HealthReading(shop.worker.pk, "down")])
    row.last_used_at = timezone.now()
    row.save()
    assert AuditEntry.objects.count() == before
    worker = Worker.objects.get(pk=shop.worker.pk)
    worker.draining = True
    worker.save()
    assert last(**of("worker")).changes == {"draining": [False, True]}


def test_members_and_invitations_have_their_entries(shop: Shop) -> None:
    user = User.objects.create_user("ana@example.com")
    member_set(organisation=shop.organisation, user=user, role=Role.VIEWER)
    member_set(organisation=shop.organisation, user=user, role=Role.ADMIN)
    assert last(**of("membership")).changes == {"role": ["viewer", "admin"]}
    member_remove(membership=Membership.objects.get(user=user))
    assert last(**of("membership")).action == AuditEntry.Action.DELETE
    invitation_create(
        organisation=shop.organisation, email="b@example.com", role=Role.VIEWER, invited_by=None
    )
    assert last(**of("invitation")).organisation == shop.organisation


def test_entries_outlive_whom_they_name(owner: Client, shop: Shop) -> None:
    user = User.objects.create_user("ana@example.com", "correct-horse-battery")
    client = signed_in(user)
    client.post("/settings/profile", {"full_name": "Ana"})
    user_delete(user=user)
    entry = AuditEntry.objects.select_related("actor").get(
        changes__full_name__isnull=False, action=AuditEntry.Action.UPDATE
    )
    assert entry.actor_name == "ana@example.com"
    owner.get("/audit-log")


def test_a_person_is_told_what_staff_changed_and_staff_are_not_told_it_of_themselves() -> None:
    ana = User.objects.create_user("ana@example.com")
    root = User.objects.create_superuser("root@example.com")
    theirs = signed_in(ana)
    for person in (ana, root):
        TOTP.activate(person, generate_totp_secret())
    second = Authenticator.objects.get(user=ana)
    staff = signed_in(root)
    gone = staff.post(f"/admin/mfa/authenticator/{second.pk}/delete/", {"post": "yes"})
    assert gone.status_code == 302
    theirs.post("/settings/profile", {"full_name": "Ana"})

    def told(client: Client) -> list[tuple[str, int, str]]:
        page = client.get("/settings").context["entries"]
        return [(row.content_type.model, row.action, row.actor_name) for row in page]

    deleted = ("authenticator", AuditEntry.Action.DELETE, root.email)
    assert told(theirs)[:2] == [("user", AuditEntry.Action.UPDATE, ana.email), deleted]
    assert deleted not in told(staff)


@pytest.mark.parametrize("role", Role)
def test_owners_and_admins_read_it(shop: Shop, role: Role) -> None:
    user = User.objects.create_user("reader@example.com")
    member_set(organisation=shop.organisation, user=user, role=role)
    page, api = Client(), APIClient()
    page.force_login(user)
    api.force_login(user)
    allowed = role in {Role.OWNER, Role.ADMIN}
    assert page.get("/audit-log").status_code == (200 if allowed else 403)
    assert bool(api.get("/api/v1/audit-log").data["results"]) is allowed
    assert page.get("/audit-log/all").status_code == 403


def test_nobody_reads_anothers_and_staff_reads_all(shop: Shop) -> None:
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    page, api = Client(), APIClient()
    page.force_login(stranger)
    api.force_login(stranger)
    for query in ("", "?organisation=acme"):
        assert b"Acme" not in page.get(f"/audit-log{query}").content
        rows = api.get(f"/api/v1/audit-log{query}").data["results"]
        assert {row["organisation"] for row in rows} <= {"other"}
    stranger.is_staff = True
    stranger.save()
    seen = {row["organisation"] for row in api.get("/api/v1/audit-log").data["results"]}
    assert seen >= {"acme", "other", None}
    assert b"acme" in page.get("/audit-log/all").content


def test_it_is_filtered_by_who_what_and_when(owner: Client, shop: Shop) -> None:
    owner.post("/keys/create", {"name": "mine"})
    api_key_create(organisation=shop.organisation, name="by a command")
    today = timezone.now().date()
    tomorrow = today + timedelta(days=1)

    def found(query: str) -> int:
        return owner.get(f"/audit-log?{query}").context["page"].paginator.count

    assert found("who=OWNER@&what=accounts.apikey") == 1
    assert found("what=accounts.apikey&action=0") == 2
    assert found("what=accounts.apikey&action=2") == 0
    assert found(f"what=accounts.apikey&since={today}&until={today}") == 2
    assert found(f"since={tomorrow}") == 0
    assert found("source=page") == 1
    for wrong in ("since=yesterday", "what=nothing.known", "source=x"):
        page = owner.get(f"/audit-log?{wrong}")
        assert page.status_code == 422
        assert b'role="alert"' in page.content


def test_a_longer_log_takes_no_more_queries(
    owner: Client, shop: Shop, django_assert_max_num_queries: Any
) -> None:
    owner.get("/audit-log")
    with django_assert_max_num_queries(30) as few:
        owner.get("/audit-log")
    for n in range(60):
        organisation_rename(organisation=shop.organisation, name=f"Acme {n}")
    with django_assert_max_num_queries(len(few)):
        page = owner.get("/audit-log").context["page"]
    assert (len(page), page.has_next()) == (50, True)


def test_every_audited_model_and_field_exists_and_has_words() -> None:
    assert {label.lower() for label in AUDITED} == set(KINDS)
    for label, audited in AUDITED.items():
        model = apps.get_model(label)
        names = {field.name for field in model._meta.get_fields()}
        assert {*audited.without, *audited.masked, *audited.many} <= names, label


def test_no_secret_of_an_audited_model_is_written_in_the_clear() -> None:
    telling = ("password", "secret", "token", "digest", "pepper")
    for label, audited in AUDITED.items():
        for field in apps.get_model(label)._meta.get_fields():
            if isinstance(field, models.Field) and any(word in field.name for word in telling):
                hidden = {*audited.without, *audited.masked}
                assert (
                    field.name in hidden
                    or field.name.endswith("tokens_max")
                    or ("tokens_per_minute" in field.name)
                ), f"{label}.{field.name}"


def test_usage_and_snapshots_are_not_audited() -> None:
    assert not {"usage.UsageEvent", "routing.SnapshotRow", "billing.Lease"} & set(AUDITED)
    assert ApiKey._meta.label in AUDITED


# --- append-only ----------------------------------------------------------------------------------


def aged(days: int) -> AuditEntry:
    """An entry of so many days ago."""
    entry = AuditEntry.objects.order_by("id")[0]
    moment = (timezone.now() - timedelta(days=days)).isoformat()
    intrude("UPDATE audit_auditentry SET timestamp = %s WHERE id = %s", moment, entry.pk)
    return entry


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_auditentry SET actor_name = 'nobody'",
        "DELETE FROM audit_auditentry WHERE timestamp > now() - interval '364 days'",
        "TRUNCATE audit_auditentry",
    ],
)
def test_not_even_the_owner_of_the_tables_rewrites_it(shop: Shop, statement: str) -> None:
    """The services' role is refused by its rights: test_rights.py."""
    call("SET CONSTRAINTS ALL IMMEDIATE")
    with pytest.raises(DatabaseError, match="what happened is not rewritten"), transaction.atomic():
        as_owner(statement)


def test_what_is_more_than_a_year_old_can_be_deleted_by_the_owner_only(shop: Shop) -> None:
    old = aged(366)
    others = AuditEntry.objects.exclude(pk=old.pk).count()
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        call_command("audit", "prune", "--days", "366")
    as_owner("DELETE FROM audit_auditentry WHERE id = %s", old.pk)
    assert not AuditEntry.objects.filter(pk=old.pk).exists()
    assert AuditEntry.objects.count() == others > 0


def test_a_retention_of_less_than_a_year_is_refused(shop: Shop) -> None:
    with pytest.raises(CommandError, match="366"):
        call_command("audit", "prune", "--days", "365")
