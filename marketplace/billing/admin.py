"""The ledger in Django's admin: to read. Money moves through services only."""

from django.contrib import admin

from marketplace.billing.models import Account, Lease, ReconciliationReport, Transfer
from marketplace.routing.publishing import ReadOnlyAdmin


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "organisation", "provider", "posted_nano", "held_nano"]
    list_select_related = ["organisation", "provider"]
    list_filter = ["kind"]
    search_fields = ["organisation__slug", "provider__slug"]


@admin.register(Transfer)
class TransferAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "debit", "credit", "amount_nano", "request_id", "created_at"]
    list_select_related = [
        "debit__organisation",
        "debit__provider",
        "credit__organisation",
        "credit__provider",
    ]
    list_filter = ["kind"]
    search_fields = ["idem_key", "request_id"]
    show_full_result_count = False


@admin.register(Lease)
class LeaseAdmin(ReadOnlyAdmin):
    list_display = ["id", "router_id", "account", "amount_nano", "spent_nano", "state"]
    list_select_related = ["account__organisation", "account__provider"]
    list_filter = ["state"]
    search_fields = ["router_id"]


@admin.register(ReconciliationReport)
class ReconciliationReportAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "transfers", "accounts", "is_balanced"]

    @admin.display(boolean=True)
    def is_balanced(self, report: ReconciliationReport) -> bool:
        return report.is_balanced
