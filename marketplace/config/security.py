"""The Content-Security-Policy of every page."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def content_security_policy() -> str:
    """Own scripts only; the playground may also talk to the router."""
    vite = ""
    if settings.DJANGO_VITE["default"]["dev_mode"]:
        vite = " http://localhost:5173 ws://localhost:5173"
    rules = {
        "default-src": "'self'",
        "script-src": f"'self'{vite}",
        # htmx and small charts set style attributes.
        "style-src": f"'self' 'unsafe-inline'{vite}",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": f"'self' {settings.SWITCHYARD_ROUTER_URL}{vite}",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


class ContentSecurityPolicyMiddleware:
    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.policy = content_security_policy()

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", self.policy)
        response.headers.setdefault(
            "Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()"
        )
        return response
