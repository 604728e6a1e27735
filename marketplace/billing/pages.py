"""The Billing page of an organisation, and the reconciliation page for staff."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.paginator import Paginator
from django.db import connection
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from marketplace.accounts.access import staff_required
from marketplace.accounts.models import Organisation
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, may
from marketplace.billing.credit.forms import CreditRequestForm
from marketplace.billing.invoices.months import Month
from marketplace.billing.models import ReconciliationReport, Transfer, TransferKind, WriteOff
from marketplace.billing.movements import movements_csv, movements_of, movements_read
from marketplace.billing.payments.forms import AutoRechargeForm, TopupForm
from marketplace.billing.payments.selectors import payments_shown
from marketplace.billing.proof.ledger import gaps_known
from marketplace.billing.rights import weaknesses
from marketplace.billing.services import customer_account_open

ROWS_PER_PAGE = 50
REPORT_AGE_MAX = timedelta(minutes=15)
"""A report is due every five minutes."""
INVOICES_SHOWN = 12
"""Invoices on the page, the newest; the management API has all."""


@require_safe
@organisation_required
def billing(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Balance, payments, holds and what moved the balance, newest first."""
    return billing_page(request, organisation)


@require_safe
@organisation_required
def movements_file(request: HttpRequest, organisation: Organisation) -> StreamingHttpResponse:
    """What moved the balance as a file, newest first; amounts in dollars."""
    lines = movements_csv(customer_account_open(organisation=organisation))
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="ledger.csv"'
    return response


def billing_page(
    request: HttpRequest, organisation: Organisation, status: int = 200, **forms: Any
) -> HttpResponse:
    """Render the page; ``topup_form``, ``recharge_form`` or ``credit_form`` is a refused form."""
    account = customer_account_open(organisation=organisation)
    page = Paginator(movements_of(account), ROWS_PER_PAGE).get_page(request.GET.get("page"))
    payments = payments_shown(organisation)
    context = {
        "account": account,
        "page": page,
        "here": reverse("billing"),
        "movements": list(movements_read(account, page)),
        "invoices": account.statements.all()[:INVOICES_SHOWN],
        "this_month": Month.of(timezone.now()),
        "runs_providers": organisation.providers.exists(),
        "report": ReconciliationReport.objects.first(),
        "payments": payments,
        "may_pay": may(request.user, organisation, Permission.MONEY),
        "topup_form": TopupForm(),
        "credit_form": CreditRequestForm(),
        "credit_request": organisation.credit_requests.first(),
        "recharge_form": AutoRechargeForm.of(payments.rule),
        **forms,
    }
    return render(request, "billing/billing.html", context, status=status)


@require_safe
@staff_required
def reconciliation(request: HttpRequest) -> HttpResponse:
    """The latest reports with their gaps, router write-offs, and what the platform paid.

    It also says whether rights protect the books.
    """
    with connection.cursor() as cursor:
        is_weak = bool(weaknesses(cursor, settings.SERVICES_ROLE))
    reports = ReconciliationReport.objects.all()[:ROWS_PER_PAGE]
    latest = reports[0] if reports else None
    covers = Transfer.objects.filter(kind=TransferKind.COVER)
    context = {
        "latest": latest,
        "gaps": gaps_known(),
        "weak_role": settings.SERVICES_ROLE if is_weak else "",
        "is_late": latest is None or latest.created_at < timezone.now() - REPORT_AGE_MAX,
        "reports": reports,
        "write_offs": WriteOff.objects.all()[:ROWS_PER_PAGE],
        "covers": covers.select_related("credit__organisation")[:ROWS_PER_PAGE],
    }
    return render(request, "billing/reconciliation.html", context)
