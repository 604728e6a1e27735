"""The Billing page of an organisation, and the reconciliation page for staff."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from marketplace.accounts.access import staff_required
from marketplace.accounts.models import Organisation
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, may
from marketplace.billing.credit.forms import CreditRequestForm
from marketplace.billing.models import ReconciliationReport, Transfer, TransferKind, WriteOff
from marketplace.billing.payments.forms import AutoRechargeForm, TopupForm
from marketplace.billing.payments.selectors import payments_shown
from marketplace.billing.rights import weaknesses
from marketplace.billing.selectors import gaps_known
from marketplace.billing.services import customer_account_open

ROWS_PER_PAGE = 50
REPORT_AGE_MAX = timedelta(minutes=15)
"""A report is due every five minutes."""
INVOICES_SHOWN = 12
"""Invoices on the page, the newest; the management API has all."""


@require_safe
@organisation_required
def billing(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Balance, payments, holds and the ledger, newest transfer first."""
    return billing_page(request, organisation)


def billing_page(
    request: HttpRequest, organisation: Organisation, status: int = 200, **forms: Any
) -> HttpResponse:
    """Render the page; ``topup_form``, ``recharge_form`` or ``credit_form`` is a refused form."""
    account = customer_account_open(organisation=organisation)
    transfers = (
        Transfer.objects.filter(Q(debit=account) | Q(credit=account))
        .select_related("debit__provider", "credit__provider", "debit", "credit", "trial")
        .order_by("-id")
    )
    payments = payments_shown(organisation)
    context = {
        "account": account,
        "page": Paginator(transfers, ROWS_PER_PAGE).get_page(request.GET.get("page")),
        "invoices": account.statements.all()[:INVOICES_SHOWN],
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
