"""Invitations: handed over or mailed, for one address, until they end."""

import re
from datetime import timedelta

import pytest
from django.core import mail
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from marketplace.accounts.invitations import services
from marketplace.accounts.invitations.services import invitation_create, invitation_resend
from marketplace.accounts.invitations.tokens import invitation_token
from marketplace.accounts.models import Invitation, Organisation, Role, User
from marketplace.accounts.services import member_set, organisation_create
from tests.integration.marketplace.accounts.visiting import link_in, sign_in, sign_up
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    return kept_shop


def test_an_invitation_is_handed_over_where_there_is_no_mail(
    without_mail: None, owner: Client, shop: Shop
) -> None:
    owner.post("/organisation/invite", {"email": "New@example.com", "role": "billing"})
    link = re.search(r"/invitations/[\w:-]{30,}", owner.get("/organisation").content.decode())
    assert link
    path = link[0]
    newcomer = Client()
    page = newcomer.get(path).content.decode()
    assert "Acme" in page
    assert "/signup/?email=New%40example.com" in page
    sign_up(newcomer, next=path)
    newcomer.post(path)
    membership = shop.organisation.memberships.get(user__email="new@example.com")
    assert membership.role == Role.BILLING
    assert newcomer.get("/organisation").context["organisation"] == shop.organisation
    again = newcomer.post(path)
    assert again.status_code == 422
    assert b"already accepted" in again.content


def test_an_invitation_is_mailed_where_there_is_mail(
    with_mail: None, owner: Client, person: User
) -> None:
    owner.post("/organisation/invite", {"email": person.email, "role": "viewer"})
    (message,) = mail.outbox
    assert message.to == [person.email]
    assert link_in(message.body) not in owner.get("/organisation").content.decode()
    client = signed_in(person)
    assert client.post(link_in(message.body)).status_code == 302
    assert person.memberships.get().role == Role.VIEWER


def test_an_invitation_is_for_one_address(owner: Client, shop: Shop, person: User) -> None:
    asked = invitation_create(
        organisation=shop.organisation, email="b@example.com", role=Role.ADMIN, invited_by=None
    )
    client = signed_in(person)
    path = f"/invitations/{invitation_token(asked)}"
    assert b"signed in as ana@example.com" in client.get(path).content
    assert client.post(path).status_code == 422
    assert not person.memberships.exists()


def test_a_link_ends_by_expiry_by_a_newer_one_and_by_revoking(shop: Shop, person: User) -> None:
    client = signed_in(person)
    asked = invitation_create(
        organisation=shop.organisation, email=person.email, role=Role.ADMIN, invited_by=None
    )
    first = f"/invitations/{invitation_token(asked)}"
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert b"has expired" in client.post(first).content
    asked = invitation_resend(invitation=asked)
    assert client.get(first).status_code == 404
    second = f"/invitations/{invitation_token(asked)}"
    assert b"Join Acme" in client.get(second).content
    services.invitation_revoke(invitation=asked)
    assert b"was revoked" in client.post(second).content
    assert client.get(second[:-3] + "xyz").status_code == 404
    assert not person.memberships.exists()


def test_invitations_are_bounded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "INVITATIONS_OPEN_MAX", 2)
    monkeypatch.setattr(services, "INVITATION_SENDS_MAX", 2)

    def ask(email: str) -> Invitation:
        return invitation_create(
            organisation=shop.organisation, email=email, role=Role.VIEWER, invited_by=None
        )

    first, _ = ask("a@example.com"), ask("b@example.com")
    for email, why in [
        ("c@example.com", "No more than 2"),
        ("A@example.com", "already invited"),
        (shop.owner.email, "already a member"),
    ]:
        with pytest.raises(ValidationError, match=why):
            ask(email)
    invitation_resend(invitation=first)
    with pytest.raises(ValidationError, match="sent 2 times"):
        invitation_resend(invitation=first)


@pytest.mark.parametrize(("role", "hands_over"), [(Role.OWNER, True), (Role.ADMIN, False)])
def test_the_link_of_an_owner_is_shown_to_owners_alone(
    without_mail: None, shop: Shop, person: User, role: Role, hands_over: bool
) -> None:
    """Without mail nobody proves an address: who has the link becomes an owner."""
    member_set(organisation=shop.organisation, user=person, role=role)
    asked = {
        wanted: invitation_create(
            organisation=shop.organisation,
            email=f"new-{wanted}@example.com",
            role=wanted,
            invited_by=shop.owner,
        )
        for wanted in (Role.OWNER, Role.VIEWER)
    }
    client = signed_in(person)
    rows = client.get("/organisation").context["invitations"]
    urls = {row.invitation.pk: row.url for row in rows}
    listed = {row["id"]: row["url"] for row in client.get("/api/v1/invitations").json()["results"]}
    for wanted, shown in ((Role.OWNER, hands_over), (Role.VIEWER, True)):
        assert bool(urls[asked[wanted].pk]) is shown
        assert bool(listed[asked[wanted].pk]) is shown


def test_an_invitation_ends_with_the_right_to_make_it(shop: Shop, person: User) -> None:
    other = User.objects.create_user("other@example.com")
    for inviter in (person, other):
        member_set(organisation=shop.organisation, user=inviter, role=Role.OWNER)

    def open_ones() -> set[str]:
        left = Invitation.objects.filter(accepted_at=None, revoked_at=None)
        return set(left.values_list("email", flat=True))

    for inviter in (person, other):
        for role in (Role.OWNER, Role.VIEWER):
            invitation_create(
                organisation=shop.organisation,
                email=f"{role}-of-{inviter.email}",
                role=role,
                invited_by=inviter,
            )
    theirs = {f"{role}-of-{other.email}" for role in ("owner", "viewer")}
    member_set(organisation=shop.organisation, user=person, role=Role.ADMIN)
    assert open_ones() == theirs | {f"viewer-of-{person.email}"}
    member_set(organisation=shop.organisation, user=person, role=Role.DEVELOPER)
    assert open_ones() == theirs
    other.delete()
    assert open_ones() == set()


def test_revoking_sends_no_more_invitations_than_a_day_has(
    with_mail: None, shop: Shop, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "INVITATIONS_A_DAY_MAX", 2)

    def ask(organisation: Organisation, by: User | None) -> Invitation:
        return invitation_create(
            organisation=organisation, email="a@example.com", role=Role.VIEWER, invited_by=by
        )

    for _ in range(2):
        services.invitation_revoke(invitation=ask(shop.organisation, shop.owner))
    elsewhere = organisation_create(name="Other", slug="other", owner=shop.owner)
    for organisation, by in ((shop.organisation, person), (elsewhere, shop.owner)):
        with pytest.raises(ValidationError, match="No more than 2 invitations a day"):
            ask(organisation, by)
    assert len(mail.outbox) == 2
    ask(elsewhere, person)
    Invitation.objects.update(created_at=timezone.now() - timedelta(days=1))
    ask(shop.organisation, shop.owner)


def test_an_invitation_for_another_address_leaves_the_welcome_page_open(
    shop: Shop, person: User
) -> None:
    asked = invitation_create(
        organisation=shop.organisation, email="b@example.com", role=Role.VIEWER, invited_by=None
    )
    path = f"/invitations/{invitation_token(asked)}"
    client = Client()
    client.get(path)
    sign_in(client, person.email)
    assert client.get("/welcome").headers["Location"] == path
    assert b"signed in as ana@example.com" in client.get(path).content
    assert client.get("/welcome").status_code == 200
