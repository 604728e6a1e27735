"""The management API under ``/api/v1/`` and its OpenAPI schema."""

from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularAPIView
from rest_framework.routers import SimpleRouter

from marketplace.accounts import api as accounts
from marketplace.billing import api as billing
from marketplace.catalog import api as catalog
from marketplace.config.api import UnknownPathView
from marketplace.routing import api as routing
from marketplace.usage import api as usage

router = SimpleRouter(trailing_slash=False)
router.register("organisations", accounts.OrganisationViewSet)
router.register("members", accounts.MembershipViewSet)
router.register("keys", accounts.ApiKeyViewSet)
router.register("models", catalog.ModelViewSet)
router.register("providers", catalog.ProviderViewSet)
router.register("pools", catalog.PoolViewSet)
router.register("workers", catalog.WorkerViewSet)
router.register("deployments", catalog.DeploymentViewSet)
router.register("offers", catalog.OfferViewSet)
router.register("policies", routing.PolicyViewSet)
router.register("usage", usage.UsageViewSet)
router.register("ledger/accounts", billing.AccountViewSet)
router.register("ledger/transfers", billing.TransferViewSet)

urlpatterns: list[URLPattern | URLResolver] = [
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("v1/session-token", accounts.SessionTokenView.as_view(), name="session-token"),
    path("v1/", include(router.urls)),
    re_path("", UnknownPathView.as_view()),
]
