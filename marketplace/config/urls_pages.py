"""The pages that people look at."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import URLPattern, URLResolver, path

from marketplace.accounts import pages as accounts
from marketplace.billing import pages as billing
from marketplace.catalog import pages as catalog
from marketplace.routing import pages as routing
from marketplace.usage import pages as usage

urlpatterns: list[URLPattern | URLResolver] = [
    path("", catalog.catalog, name="catalog"),
    path("models/<str:author>/<str:slug>", catalog.model, name="model"),
    path("login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("organisation", accounts.organisation_switch, name="organisation-switch"),
    path("keys", accounts.keys, name="keys"),
    path("keys/create", accounts.key_create, name="key-create"),
    path("keys/<int:key_id>/revoke", accounts.key_revoke, name="key-revoke"),
    path("usage", usage.usage, name="usage"),
    path("usage.csv", usage.usage_csv, name="usage-csv"),
    path("usage/<uuid:request_id>", usage.call, name="call"),
    path("billing", billing.billing, name="billing"),
    path("routes", routing.routes, name="routes"),
]
