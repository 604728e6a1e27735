"""The management API under ``/api/v1/`` and its OpenAPI schema."""

from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularAPIView
from rest_framework.routers import SimpleRouter

from marketplace.accounts import api as accounts
from marketplace.accounts.invitations import api as invitations
from marketplace.agents import api as agents
from marketplace.audit import api as audit
from marketplace.benchmarks import api as benchmarks
from marketplace.billing import api as billing
from marketplace.billing.budgets import api as budgets
from marketplace.billing.credit import api as credit
from marketplace.billing.invoices import api as invoices
from marketplace.billing.payments import api as payments
from marketplace.catalog import api as catalog
from marketplace.closing import api as closing
from marketplace.config.errors.unknown_path import UnknownPathView
from marketplace.endpoints import api as endpoints
from marketplace.keys import api as keys
from marketplace.keys.consents import exchange
from marketplace.planning.advisor import api as advisor
from marketplace.planning.whatif import api as what_ifs
from marketplace.presets import api as presets
from marketplace.providers import api as providers
from marketplace.providers.listings import api as listings
from marketplace.providers.on_sale import api as on_sale
from marketplace.providers.pipelines import api as pipelines
from marketplace.routing.topology import api as topology
from marketplace.storefront.browse import api as browse
from marketplace.storefront.compare import api as compare
from marketplace.storefront.quotes import api as quotes
from marketplace.storefront.rankings import api as rankings
from marketplace.support import api as support
from marketplace.tuning import api as tuning
from marketplace.tuning.editor import api as editor
from marketplace.usage import api as usage
from marketplace.webhooks import api as webhooks

router = SimpleRouter(trailing_slash=False)
router.register("organisations", accounts.OrganisationViewSet)
router.register("members", accounts.MembershipViewSet)
router.register("keys", keys.ApiKeyViewSet)
router.register("budgets", budgets.BudgetViewSet)
router.register("endpoints", endpoints.OwnEndpointViewSet)
router.register("presets", presets.PresetViewSet)
router.register("models", browse.ModelViewSet)
router.register("providers", providers.ProviderViewSet)
router.register("pools", catalog.PoolViewSet)
router.register("workers", catalog.WorkerViewSet)
router.register("agents", agents.AgentViewSet)
router.register("worker-tokens", agents.WorkerTokenViewSet)
router.register("deployments", catalog.DeploymentViewSet)
router.register("offers", catalog.OfferViewSet)
router.register("listings", listings.ListingViewSet)
router.register("offerings", on_sale.OfferingViewSet, basename="offering")
router.register("pipelines", pipelines.PipelineViewSet)
router.register("rankings", rankings.RankingViewSet, basename="ranking")
router.register("estimates", compare.EstimateViewSet, basename="estimate")
router.register("quotes", quotes.QuoteViewSet, basename="quote")
router.register("policies", editor.PolicyViewSet)
router.register("benchmarks", benchmarks.BenchmarkViewSet)
router.register("profiles", benchmarks.ProfileViewSet)
router.register("proposals", tuning.ProposalViewSet, basename="proposal")
router.register("route-tunings", tuning.RouteTuningViewSet)
router.register("usage", usage.UsageViewSet)
router.register("what-ifs", what_ifs.WhatIfViewSet, basename="what-if")
router.register("ledger/accounts", billing.AccountViewSet)
router.register("ledger/transfers", billing.TransferViewSet)
router.register("invoices", invoices.InvoiceViewSet, basename="invoice")
router.register("payout-statements", invoices.PayoutStatementViewSet, basename="payout-statement")
router.register("earnings", invoices.EarningsViewSet, basename="earnings")
router.register("payouts", invoices.PayoutViewSet)
router.register("payments", payments.PaymentViewSet)
router.register("auto-recharge", payments.AutoRechargeViewSet)
router.register("advice", advisor.AdviceViewSet, basename="advice")
router.register("grants", payments.GrantViewSet)
router.register("credit-requests", credit.CreditRequestViewSet, basename="credit-request")
router.register("topology", topology.TopologyViewSet, basename="topology")
router.register("support", support.SupportViewSet, basename="support")
router.register("looks", support.LookViewSet)
router.register("invitations", invitations.InvitationViewSet)
router.register("webhook-deliveries", webhooks.DeliveryViewSet)
router.register("webhook-secrets", webhooks.SecretViewSet)
router.register("audit-log", audit.AuditLogViewSet, basename="audit-log")

urlpatterns: list[URLPattern | URLResolver] = [
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("v1/session-token", accounts.SessionTokenView.as_view(), name="session-token"),
    path(
        "v1/organisations/<slug:slug>/close", closing.CloseView.as_view(), name="close-organisation"
    ),
    path("v1/auth/token", exchange.token, name="key-token"),
    path("v1/auth/keys", exchange.keys, name="key-exchange"),
    # In a namespace, as pages have URLs with the same names.
    path("v1/", include((router.urls, "v1"))),
    re_path("", UnknownPathView.as_view()),
]
