"""Every write of what an organisation has: where, with what, and which permission it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from marketplace.accounts.models import ApiKey, Invitation
from marketplace.accounts.permissions import Permission
from marketplace.presets.models import Preset
from tests.integration.marketplace.shop import Shop


@dataclass(frozen=True)
class Furnished:
    """An organisation with one of each thing that can be changed."""

    shop: Shop
    key: ApiKey
    management_key: ApiKey
    management_secret: str
    member_id: int
    owner_id: int
    invitation: Invitation
    owners_invitation: Invitation
    budget_id: int
    preset: Preset


Value = Callable[[Furnished], object]


@dataclass(frozen=True)
class Write:
    """One write: where, with what, and which permission it takes."""

    method: str
    path: str | Callable[[Furnished], str]
    permission: Permission
    body: dict[str, object] | None = None
    name: str = ""
    """The page's URL name, or the API's resource."""

    def __str__(self) -> str:
        return f"{self.method}-{self.name}-{self.permission}"


P = Permission
PAGES = [
    Write("post", "/organisation/rename", P.ORGANISATION, {"name": "New"}, "organisation-rename"),
    Write("post", "/organisation/close", P.CLOSE, {"name": "x"}, "organisation-close"),
    Write("post", "/organisation/responses", P.ORGANISATION, {}, "organisation-responses"),
    Write("post", "/organisation/apps", P.ORGANISATION, {}, "organisation-apps"),
    Write("post", "/organisation/masks", P.ORGANISATION, {}, "organisation-masks"),
    Write("post", "/organisation/guard", P.ORGANISATION, {}, "organisation-guard"),
    Write(
        "post",
        "/organisation/invite",
        P.MEMBERS,
        {"email": "x@example.com", "role": "viewer"},
        "organisation-invite",
    ),
    Write(
        "post",
        "/organisation/invite",
        P.OWNERS,
        {"email": "x@example.com", "role": "owner"},
        "organisation-invite",
    ),
    Write(
        "post",
        lambda f: f"/organisation/members/{f.member_id}/role",
        P.MEMBERS,
        {"role": "billing"},
        "member-role",
    ),
    Write(
        "post",
        lambda f: f"/organisation/members/{f.member_id}/role",
        P.OWNERS,
        {"role": "owner"},
        "member-role",
    ),
    Write(
        "post",
        lambda f: f"/organisation/members/{f.owner_id}/role",
        P.OWNERS,
        {"role": "viewer"},
        "member-role",
    ),
    Write(
        "post",
        lambda f: f"/organisation/members/{f.member_id}/remove",
        P.MEMBERS,
        {},
        "member-remove",
    ),
    Write(
        "post",
        lambda f: f"/organisation/members/{f.owner_id}/remove",
        P.OWNERS,
        {},
        "member-remove",
    ),
    *(
        Write(
            "post",
            lambda f, verb=verb: f"/organisation/invitations/{f.invitation.pk}/{verb}",
            P.MEMBERS,
            {},
            f"invitation-{verb}",
        )
        for verb in ("resend", "revoke")
    ),
    Write(
        "post",
        lambda f: f"/organisation/invitations/{f.owners_invitation.pk}/resend",
        P.OWNERS,
        {},
        "invitation-resend",
    ),
    Write("post", "/keys/create", P.KEYS, {"name": "new"}, "key-create"),
    Write("post", lambda f: f"/keys/{f.key.pk}", P.KEYS, {"name": "n"}, "key"),
    Write(
        "post", lambda f: f"/keys/{f.management_key.pk}", P.MANAGEMENT_KEYS, {"name": "n"}, "key"
    ),
    Write("post", lambda f: f"/keys/{f.key.pk}/revoke", P.KEYS, {}, "key-revoke"),
    Write(
        "post", lambda f: f"/keys/{f.key.pk}/rotate", P.KEYS, {"overlap_hours": "1"}, "key-rotate"
    ),
    Write(
        "post",
        lambda f: f"/keys/{f.management_key.pk}/rotate",
        P.MANAGEMENT_KEYS,
        {"overlap_hours": "1"},
        "key-rotate",
    ),
    Write("post", "/presets/new", P.KEYS, {"name": "new"}, "preset-new"),
    Write("post", lambda f: f"/presets/{f.preset.name}", P.KEYS, {"model": "x"}, "preset"),
    Write("post", lambda f: f"/presets/{f.preset.name}/retire", P.KEYS, {}, "preset-retire"),
    Write("post", "/budgets/organisation", P.MONEY, {"budget_usd": "5"}, "organisation-budget"),
    Write(
        "post",
        lambda f: f"/budgets/members/{f.shop.owner.pk}",
        P.MONEY,
        {"budget_usd": "5"},
        "member-budget",
    ),
    Write("post", "/billing/topup", P.MONEY, {"amount_usd": "-1"}, "topup"),
    Write("post", "/billing/credit-request", P.MONEY, {"amount": "x"}, "credit-request"),
    Write("post", "/billing/auto-recharge", P.MONEY, {}, "auto-recharge"),
    Write("post", "/billing/forget-card", P.MONEY, {}, "forget-card"),
]
API = [
    Write("patch", "/api/v1/organisations/acme", P.ORGANISATION, {"name": "New"}, "organisations"),
    Write(
        "post",
        "/api/v1/members",
        P.MEMBERS,
        {"organisation": "acme", "email": "outsider@example.com", "role": "viewer"},
        "members",
    ),
    Write(
        "post",
        "/api/v1/members",
        P.OWNERS,
        {"organisation": "acme", "email": "outsider@example.com", "role": "owner"},
        "members",
    ),
    Write(
        "patch",
        lambda f: f"/api/v1/members/{f.member_id}",
        P.MEMBERS,
        {"role": "billing"},
        "members",
    ),
    Write(
        "patch", lambda f: f"/api/v1/members/{f.owner_id}", P.OWNERS, {"role": "viewer"}, "members"
    ),
    Write("delete", lambda f: f"/api/v1/members/{f.member_id}", P.MEMBERS, None, "members"),
    Write("delete", lambda f: f"/api/v1/members/{f.owner_id}", P.OWNERS, None, "members"),
    Write(
        "post",
        "/api/v1/invitations",
        P.MEMBERS,
        {"organisation": "acme", "email": "x@example.com"},
        "invitations",
    ),
    Write(
        "post",
        "/api/v1/invitations",
        P.OWNERS,
        {"organisation": "acme", "email": "x@example.com", "role": "owner"},
        "invitations",
    ),
    Write(
        "post",
        lambda f: f"/api/v1/invitations/{f.invitation.pk}/resend",
        P.MEMBERS,
        {},
        "invitations/resend",
    ),
    Write(
        "delete", lambda f: f"/api/v1/invitations/{f.invitation.pk}", P.MEMBERS, None, "invitations"
    ),
    Write(
        "delete",
        lambda f: f"/api/v1/invitations/{f.owners_invitation.pk}",
        P.OWNERS,
        None,
        "invitations",
    ),
    Write("post", "/api/v1/keys", P.KEYS, {"organisation": "acme", "name": "n"}, "keys"),
    Write(
        "post",
        "/api/v1/keys",
        P.MANAGEMENT_KEYS,
        {"organisation": "acme", "name": "n", "scopes": ["management"]},
        "keys",
    ),
    Write("patch", lambda f: f"/api/v1/keys/{f.key.pk}", P.KEYS, {"name": "n"}, "keys"),
    Write(
        "patch",
        lambda f: f"/api/v1/keys/{f.management_key.pk}",
        P.MANAGEMENT_KEYS,
        {"name": "n"},
        "keys",
    ),
    Write("delete", lambda f: f"/api/v1/keys/{f.key.pk}", P.KEYS, None, "keys"),
    Write(
        "delete",
        lambda f: f"/api/v1/keys/{f.management_key.pk}",
        P.MANAGEMENT_KEYS,
        None,
        "keys",
    ),
    Write(
        "post",
        lambda f: f"/api/v1/keys/{f.key.pk}/rotate",
        P.KEYS,
        {"overlap_hours": 1},
        "keys/rotate",
    ),
    Write(
        "post",
        lambda f: f"/api/v1/keys/{f.management_key.pk}/rotate",
        P.MANAGEMENT_KEYS,
        {"overlap_hours": 1},
        "keys/rotate",
    ),
    Write(
        "post",
        "/api/v1/presets",
        P.KEYS,
        {"organisation": "acme", "name": "n", "system": "Be brief."},
        "presets",
    ),
    Write("delete", lambda f: f"/api/v1/presets/{f.preset.pk}", P.KEYS, None, "presets"),
    Write(
        "post",
        "/api/v1/budgets",
        P.MONEY,
        {"organisation": "acme", "limit_nano": 5, "window": "month"},
        "budgets",
    ),
    Write(
        "patch", lambda f: f"/api/v1/budgets/{f.budget_id}", P.MONEY, {"limit_nano": 6}, "budgets"
    ),
    Write("delete", lambda f: f"/api/v1/budgets/{f.budget_id}", P.MONEY, None, "budgets"),
    Write(
        "post",
        "/api/v1/payments",
        P.MONEY,
        {"organisation": "acme", "amount_cents": 500},
        "payments",
    ),
    Write(
        "post",
        "/api/v1/auto-recharge",
        P.MONEY,
        {
            "organisation": "acme",
            "enabled": False,
            "threshold_cents": 500,
            "amount_cents": 1000,
            "cap_cents": 5000,
        },
        "auto-recharge",
    ),
    Write(
        "post",
        "/api/v1/credit-requests",
        P.MONEY,
        {"organisation": "acme", "amount_cents": 500, "reason": "a look"},
        "credit-requests",
    ),
]
