"""Downloads of statements, and the page of providers' earnings."""

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from marketplace.accounts.models import Organisation
from marketplace.accounts.organisations.current import organisation_required
from marketplace.billing.invoices.documents import statement_csv, statement_pdf
from marketplace.billing.invoices.earnings import STATEMENTS_SHOWN, earnings_of
from marketplace.billing.invoices.focus import focus_csv
from marketplace.billing.invoices.models import Statement
from marketplace.billing.invoices.months import Month
from marketplace.billing.invoices.selectors import statements_of
from marketplace.billing.models import Payout
from marketplace.billing.services import customer_account_open

PAYOUTS_SHOWN = 20


@require_safe
@organisation_required
def statement_as_csv(request: HttpRequest, organisation: Organisation, number: str) -> HttpResponse:
    """The statement as CSV, with all decimals."""
    statement = _find(organisation, number)
    return _file(statement_csv(statement), "text/csv; charset=utf-8", f"{number}.csv")


@require_safe
@organisation_required
def statement_as_pdf(request: HttpRequest, organisation: Organisation, number: str) -> HttpResponse:
    """The statement as PDF, in the language of the page."""
    return _file(statement_pdf(_find(organisation, number)), "application/pdf", f"{number}.pdf")


@require_safe
@organisation_required
def focus_file(
    request: HttpRequest, organisation: Organisation, month: str
) -> StreamingHttpResponse:
    """What the organisation's calls of a month cost, in FOCUS 1.2."""
    try:
        of = Month.parse(month)
    except ValueError as error:
        raise Http404(str(error)) from error
    account = customer_account_open(organisation=organisation)
    response = StreamingHttpResponse(
        focus_csv(organisation, account, of), content_type="text/csv; charset=utf-8"
    )
    response.headers["Content-Disposition"] = f'attachment; filename="focus-{of}.csv"'
    return response


@require_safe
@organisation_required
def earnings(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """What each provider of the organisation earned, was paid and is still owed."""
    providers = organisation.providers.select_related("billing_account")
    context = {
        "providers": [
            {
                "provider": provider,
                "account": provider.billing_account,
                "commission_percent": provider.commission_bps / 100,
                "rows": earnings_of(provider),
                "statements": provider.billing_account.statements.all()[:STATEMENTS_SHOWN],
                "payouts": Payout.objects.filter(debit=provider.billing_account)[:PAYOUTS_SHOWN],
            }
            for provider in providers.filter(billing_account__isnull=False)
        ]
    }
    return render(request, "billing/earnings.html", context)


def _find(organisation: Organisation, number: str) -> Statement:
    mine = Organisation.objects.filter(pk=organisation.pk)
    return get_object_or_404(statements_of(mine), number=number)


def _file(content: str | bytes, content_type: str, name: str) -> HttpResponse:
    response = HttpResponse(content, content_type=content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
