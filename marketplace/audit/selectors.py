"""Reading the audit log."""

from django.db.models import Q, QuerySet

from marketplace.accounts.models import Organisation, User
from marketplace.audit.models import AuditEntry


def entries_of(organisations: QuerySet[Organisation]) -> QuerySet[AuditEntry]:
    """Entries of these organisations, newest first."""
    return _rows().filter(organisation__in=organisations)


def entries_all() -> QuerySet[AuditEntry]:
    """All entries, newest first; for staff."""
    return _rows()


def entries_about(user: User) -> QuerySet[AuditEntry]:
    """Changes to a person's own account, by themselves or by staff."""
    mine = Q(actor=user) | Q(
        content_type__app_label="accounts", content_type__model="user", object_id=user.pk
    )
    own = Q(content_type__app_label__in=["account", "mfa", "socialaccount"]) | Q(
        content_type__app_label="accounts", content_type__model="user"
    )
    return _rows().filter(mine & own, organisation=None)


def _rows() -> QuerySet[AuditEntry]:
    return AuditEntry.objects.select_related("content_type").order_by("-id")
