"""What django-csp cannot say by settings alone, and URLs that nothing can be found by."""

from collections.abc import Callable
from urllib.parse import urlsplit

from csp.constants import SELF
from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest, HttpResponseBadRequest, HttpResponseBase

CHECKOUT_ORIGIN = "https://checkout.stripe.com"
"""Where the form that begins a payment is redirected to."""

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class ContentSecurityPolicyMiddleware(CSPMiddleware):
    """``CONTENT_SECURITY_POLICY`` of the settings, with its exceptions."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        # Browsers hold a form's redirect to the policy too.
        if elsewhere := _redirected_to():
            parts.update = {**(parts.update or {}), "form-action": elsewhere}
        if request.path_info.startswith("/admin/"):
            # Django's own pages name their scripts without a nonce.
            parts.replace = {**(parts.replace or {}), "script-src": [SELF]}
        return parts


def _redirected_to() -> list[str]:
    """Origins of other people's pages that forms of ours lead to."""
    origins = [CHECKOUT_ORIGIN] if settings.PAYMENTS_ON else []
    if settings.OIDC_ON:
        issuer = urlsplit(settings.WAYPOST_OIDC_ISSUER)
        origins.append(f"{issuer.scheme}://{issuer.netloc}")
    return origins


class PermissionsPolicyMiddleware:
    """No page asks for the browser's devices."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers.setdefault(
            "Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()"
        )
        return response


class NulByteMiddleware:
    """400 for a NUL byte in a URL: no text in PostgreSQL has one, and asking for it is an error."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "\0" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            return HttpResponseBadRequest("a NUL byte names nothing", content_type="text/plain")
        return self.get_response(request)
