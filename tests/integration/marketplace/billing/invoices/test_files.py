"""The files of an invoice."""

import csv
import io
from decimal import Decimal

from django.utils import translation

from marketplace.billing.invoices.documents import statement_csv, statement_pdf
from marketplace.billing.invoices.models import Statement
from marketplace.billing.invoices.months import Month
from tests.integration.marketplace.billing.invoices.statements import (
    issue,
    offer_of,
    settle_call,
    topped_up,
)
from tests.integration.marketplace.ledger import USD
from tests.integration.marketplace.shop import Shop


def test_the_csv_file_adds_up_to_the_nano(shop: Shop, month_over: Month) -> None:
    offer = offer_of(shop, prompt_nano_per_million=20_000_000)
    settle_call(shop, offer, prompt_tokens=1_001)
    invoice = issue(shop.customer_account, month_over)
    opening, *lines, closing = csv.DictReader(io.StringIO(statement_csv(invoice)))
    assert (opening["line"], closing["line"]) == ("opening_balance", "closing_balance")
    moved = sum(Decimal(line["amount_usd"]) for line in lines)
    assert Decimal(opening["amount_usd"]) + moved == Decimal(closing["amount_usd"])
    assert Decimal(closing["amount_usd"]) == Decimal(shop.customer_account.posted_nano) / USD
    charged = lines[-1]
    assert (charged["model"], charged["provider"]) == ("author/slug", "northyard")
    assert (charged["calls"], charged["prompt_tokens"]) == ("1", "1001")
    assert charged["amount_usd"] == "-0.00002002"


def test_a_reference_is_no_formula_to_a_spreadsheet(shop: Shop, month_over: Month) -> None:
    topped_up(shop, USD, "=1+1")
    invoice = issue(shop.customer_account, month_over)
    assert invoice.entries[-1].reference == "=1+1"
    *_, topup, _closing = csv.DictReader(io.StringIO(statement_csv(invoice)))
    assert topup["reference"] == "'=1+1"


def test_the_pdf_file_is_the_same_each_time_and_speaks_the_readers_language(
    shop: Shop, month_over: Month
) -> None:
    settle_call(shop, offer_of(shop, request_nano=5), rows=3)
    invoice = issue(shop.customer_account, month_over)
    english = statement_pdf(invoice)
    assert english.startswith(b"%PDF-")
    assert english == statement_pdf(Statement.objects.get())
    with translation.override("pt-br"):
        assert b"pt-BR" in statement_pdf(invoice)
