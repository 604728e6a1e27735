"""What an organisation has, holds and spent."""

from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from marketplace.accounts.models import Organisation
from marketplace.accounts.pages import organisation_required
from marketplace.billing.models import ReconciliationReport, Transfer
from marketplace.billing.services import customer_account_open

ROWS_PER_PAGE = 50


@require_GET
@organisation_required
def billing(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Balance, holds and the ledger, newest transfer first."""
    account = customer_account_open(organisation=organisation)
    transfers = (
        Transfer.objects.filter(Q(debit=account) | Q(credit=account))
        .select_related("debit__provider", "credit__provider", "debit", "credit")
        .order_by("-id")
    )
    context = {
        "account": account,
        "page": Paginator(transfers, ROWS_PER_PAGE).get_page(request.GET.get("page")),
        "report": ReconciliationReport.objects.first(),
    }
    return render(request, "billing/billing.html", context)
