"""Security headers that settings alone cannot express."""

from collections.abc import Callable
from urllib.parse import urlsplit

from csp.constants import SELF
from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.cache import patch_cache_control

CHECKOUT_ORIGIN = "https://checkout.stripe.com"
"""Where the form that begins a payment redirects to; a stand-in for Stripe has its own page."""

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class ContentSecurityPolicyMiddleware(CSPMiddleware):
    """Sends ``CONTENT_SECURITY_POLICY`` of the settings, with exceptions."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        # Browsers apply form-action to redirects too.
        if elsewhere := _redirected_to():
            update = parts.update or {}
            parts.update = {**update, "form-action": [*update.get("form-action", []), *elsewhere]}
        if request.path_info.startswith("/admin/"):
            # Django's own pages have scripts without a nonce.
            parts.replace = {**(parts.replace or {}), "script-src": [SELF]}
        return parts


def _redirected_to() -> list[str]:
    """Foreign origins that our forms may redirect to."""
    origins = [CHECKOUT_ORIGIN] if settings.PAYMENTS_ON else []
    if settings.PAYMENTS_ON and settings.STRIPE_API_URL != settings.STRIPE_API:
        origins.append(settings.STRIPE_API_URL)
    if settings.OIDC_ON:
        issuer = urlsplit(settings.WAYPOST_OIDC_ISSUER)
        origins.append(f"{issuer.scheme}://{issuer.netloc}")
    return origins


PUBLIC_PAGES = frozenset(
    {"landing", "catalog", "model", "compare", "rankings", "status"}
    | {"robots", "sitemap", "favicon"}
)
"""Pages that caches may keep, as seen without signing in."""


class NoStoreMiddleware:
    """Forbids caches, and the browser's back button, to keep personal pages and API answers."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        match = request.resolver_match
        public = match is not None and match.view_name in PUBLIC_PAGES
        if not public or settings.SESSION_COOKIE_NAME in request.COOKIES:
            patch_cache_control(response, no_store=True)
        return response


class PermissionsPolicyMiddleware:
    """Denies pages access to the browser's devices."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers.setdefault(
            "Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()"
        )
        return response
