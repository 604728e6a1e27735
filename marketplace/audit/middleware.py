"""Attributes the changes of each request to its caller."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from marketplace.audit.acting import acting_in

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class AuditMiddleware:
    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with acting_in(request):
            return self.get_response(request)
