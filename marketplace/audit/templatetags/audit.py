"""Template filters for entries of the audit log."""

from typing import Any

from django import template
from django.db.models import QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import User
from marketplace.audit.models import AuditEntry
from marketplace.audit.selectors import entries_about

register = template.Library()

VALUE_MAX = 80
SHOWN_MAX = 10
"""Changes of one's own account on the settings page, at most."""
KINDS: dict[str, str | Promise] = {
    "accounts.organisation": _("Organisation"),
    "accounts.membership": _("Member"),
    "accounts.invitation": _("Invitation"),
    "accounts.apikey": _("Key"),
    "accounts.user": _("Person"),
    "account.emailaddress": _("Address"),
    "mfa.authenticator": _("Second step"),
    "socialaccount.socialaccount": _("Connected account"),
    "billing.budget": _("Budget"),
    "billing.autorecharge": _("Auto-recharge"),
    "billing.paymentprofile": _("Card"),
    "billing.stafftransfer": _("Grant"),
    "billing.trialgrant": _("Trial credit"),
    "billing.creditrequest": _("Credit request"),
    "catalog.provider": _("Provider"),
    "catalog.deployment": _("Deployment"),
    "catalog.offer": _("Price"),
    "catalog.aimodel": _("Model"),
    "catalog.modelversion": _("Version"),
    "catalog.pool": _("Pool"),
    "catalog.worker": _("Worker"),
    "agents.agent": _("Agent"),
    "endpoints.ownendpoint": _("Own endpoint"),
    "endpoints.ownworker": _("Server of an own host"),
    "agents.workertoken": _("Worker token"),
    "providers.listing": _("Listing"),
    "webhooks.webhooksecret": _("Signing secret"),
    "keys.consent": _("Consent to a key for a tool"),
    "pipelines.pipeline": _("Pipeline"),
    "presets.preset": _("Preset"),
    "routing.policy": _("Policy"),
    "routing.routetuning": _("Tuning of a route"),
}
ACTIONS = {
    AuditEntry.Action.CREATE: _("created"),
    AuditEntry.Action.UPDATE: _("changed"),
    AuditEntry.Action.DELETE: _("deleted"),
}


@register.simple_tag
def changes_of(user: User) -> QuerySet[AuditEntry]:
    """The newest changes to a person's own account."""
    return entries_about(user)[:SHOWN_MAX]


@register.filter
def kind(entry: AuditEntry) -> str | Promise:
    """The name of the changed model."""
    return kind_named(f"{entry.content_type.app_label}.{entry.content_type.model}")


@register.filter
def kind_named(label: str) -> str | Promise:
    """The name of a model given as ``app.model``."""
    return KINDS.get(label, label)


@register.filter
def action_named(action: int) -> str | Promise:
    """The action as text."""
    return ACTIONS.get(action, "–")


@register.filter
def change_value(value: Any) -> str:
    """A value before or after, short; a dash for none."""
    words = "–" if value in (None, "", "None", [], {}) else str(value)
    return words if len(words) <= VALUE_MAX else f"{words[: VALUE_MAX - 1]}…"
