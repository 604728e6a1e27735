"""Pages of the audit log: an organisation's own, and the whole one for staff."""

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from marketplace.accounts.access import staff_required
from marketplace.accounts.models import Organisation
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, demand
from marketplace.audit.acting import Source
from marketplace.audit.filters import KINDS, AuditFilter
from marketplace.audit.models import AuditEntry
from marketplace.audit.selectors import entries_all, entries_of

PAGE_SIZE = 50


@require_safe
@organisation_required
def audit_log(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The organisation's audit log, for its owners and admins."""
    demand(request, organisation, Permission.ORGANISATION)
    mine = Organisation.objects.filter(pk=organisation.pk)
    return _page(request, entries_of(mine), whole=False)


@require_safe
@staff_required
def audit_log_whole(request: HttpRequest) -> HttpResponse:
    """The whole audit log, for staff."""
    return _page(request, entries_all().select_related("organisation"), whole=True)


def _page(request: HttpRequest, entries: QuerySet[AuditEntry], *, whole: bool) -> HttpResponse:
    asked = request.GET.copy()
    if not whole:
        asked.pop("organisation", None)
    wanted = AuditFilter(asked, entries)
    found = wanted.qs if wanted.is_valid() else entries.none()
    context = {
        "page": Paginator(found, PAGE_SIZE).get_page(request.GET.get("page")),
        "asked": asked,
        "is_filtered": any(value for name, value in asked.items() if name != "page"),
        "errors": wanted.form.errors,
        "kinds": KINDS,
        "actions": AuditEntry.Action.choices[:3],
        "sources": Source.choices,
        "whole": whole,
    }
    status = 200 if wanted.is_valid() else 422
    return render(request, "audit/log.html", context, status=status)
