"""Which models are audited, without which fields, and to which organisation a change belongs.

Not audited: rows that routers and calls write (snapshots, usage, leases, transfers), health probes,
benchmarks and advice. None of the audited models holds a prompt.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from auditlog.registry import auditlog
from django.apps import apps
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model


@dataclass(frozen=True, slots=True)
class Audited:
    """``organisation_id`` is the attribute path to the organisation's id, "" for none."""

    organisation_id: str = ""
    without: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    many: tuple[str, ...] = ()


PROBED = (
    *("healthy", "health_error", "health_checked_at"),
    *("reported_at", "reports_since", "reported_error"),
)
"""What probes and reports change of a server."""

AUDITED: Mapping[str, Audited] = {
    "accounts.Organisation": Audited("pk", ("created_at",)),
    "accounts.Membership": Audited("organisation_id", ("created_at",)),
    "accounts.Invitation": Audited("organisation_id", ("created_at",)),
    "accounts.ApiKey": Audited("organisation_id", ("created_at", "last_used_at", "digest")),
    "accounts.User": Audited(
        without=("last_login", "date_joined"),
        masked=("password",),
        many=("groups", "user_permissions"),
    ),
    "account.EmailAddress": Audited(),
    "mfa.Authenticator": Audited(without=("last_used_at", "created_at"), masked=("data",)),
    "socialaccount.SocialAccount": Audited(without=("extra_data", "last_login", "date_joined")),
    "billing.Budget": Audited("organisation_id", ("spent_nano", "held_nano", "window_starts_at")),
    "billing.AutoRecharge": Audited("organisation_id"),
    "billing.PaymentProfile": Audited(
        "organisation_id", masked=("customer_id", "payment_method_id")
    ),
    "billing.StaffTransfer": Audited("organisation_id"),
    "billing.TrialGrant": Audited("organisation_id"),
    "billing.CreditRequest": Audited("organisation_id", ("created_at",)),
    "catalog.Provider": Audited("organisation_id", ("created_at",)),
    "catalog.Deployment": Audited("provider.organisation_id", ("created_at",)),
    "catalog.Offer": Audited("deployment.provider.organisation_id", ("created_at",)),
    "catalog.AIModel": Audited(without=("created_at",)),
    "catalog.ModelVersion": Audited(without=("created_at",)),
    "catalog.Pool": Audited(),
    "catalog.Worker": Audited(without=PROBED),
    "agents.WorkerToken": Audited("endpoint.organisation_id", ("created_at", "digest")),
    "agents.Agent": Audited(
        "endpoint.organisation_id", ("registered_at", "seen_at", "digest", "token")
    ),
    "endpoints.OwnEndpoint": Audited("organisation_id", ("created_at", "sealed_key")),
    "endpoints.OwnWorker": Audited("endpoint.organisation_id", PROBED),
    "keys.Consent": Audited(
        "organisation_id", ("created_at", "code_digest", "challenge", "expires_at")
    ),
    "pipelines.Pipeline": Audited("organisation_id", ("created_at", "definition_text")),
    "presets.Preset": Audited(
        "organisation_id", ("created_at", "created_by", "system", "parameters")
    ),
    "providers.Listing": Audited("provider.organisation_id", ("created_at", "updated_at")),
    "routing.Policy": Audited(without=("created_at",)),
    "routing.RouteTuning": Audited(without=("updated_at", "looked_at")),
    "webhooks.WebhookSecret": Audited("organisation_id", ("created_at", "sealed")),
}


def masked(value: str) -> str:
    """A fixed mask for a secret, so that not even its length shows; "" for none."""
    return "" if value in {"", "None"} else "•••"


def register_all() -> None:
    """Register every model of `AUDITED`. Called once, when the apps are ready."""
    for label, audited in AUDITED.items():
        auditlog.register(
            apps.get_model(label),
            exclude_fields=["id", *audited.without],
            mask_fields=list(audited.masked),
            mask_callable="marketplace.audit.registry.masked",
            m2m_fields=set(audited.many),
        )


def organisation_id_of(instance: Model) -> int | None:
    """The organisation that a change of this row belongs to, if any."""
    audited = AUDITED.get(instance._meta.label)
    found: object = instance if audited and audited.organisation_id else None
    for name in (audited.organisation_id if audited else "").split("."):
        try:
            found = getattr(found, name, None)
        except ObjectDoesNotExist:
            return None  # What it was of has just been deleted, and it with that.
    return found if isinstance(found, int) else None
