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
    person = Q(content_type__app_label="accounts", content_type__model="user", object_id=user.pk)
    ways_in = Q(content_type__app_label__in=["account", "mfa", "socialaccount"])
    # An entry says whose it is where it is made or deleted; what is changed, its person changes.
    theirs = Q(changes__user__contains=[user.pk])
    own = Q(actor=user) & ~Q(changes__has_key="user")
    return _rows().filter(person | ways_in & (theirs | own), organisation=None)


def _rows() -> QuerySet[AuditEntry]:
    return AuditEntry.objects.select_related("content_type").order_by("-id")
