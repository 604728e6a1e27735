"""Refuses requests before any view: bodies too large, and texts that cannot be stored."""

from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import unquote

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from marketplace.config.errors.refusals import Refusal, refusal, too_large
from marketplace.shared.numbers import whole
from marketplace.shared.texts import unkept

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class BoundaryMiddleware:
    """413 for a body over the bound; 400 for text that PostgreSQL cannot store, in a URL or a form.

    `KeptJSONParser` applies the same rule to the API's JSON bodies.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        refused = self._refusal(request)
        if refused is None:
            return self.get_response(request)
        return HttpResponse(refused.body, status=refused.status, headers=dict(refused.headers))

    def _refusal(self, request: HttpRequest) -> Refusal | None:
        path = request.path_info
        is_upload = request.method == "POST" and path in settings.UPLOAD_PATHS
        bytes_max = int(
            settings.UPLOAD_BODY_BYTES_MAX if is_upload else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        )
        declared = request.META.get("CONTENT_LENGTH", "")
        if declared.isdecimal() and whole(declared, bytes_max) is None:
            return too_large(path, bytes_max)
        # Invalid UTF-8 is replaced, as in Django.
        if found := unkept(path) or unkept(unquote(request.META.get("QUERY_STRING", ""))):
            return refusal(path, HTTPStatus.BAD_REQUEST, f"The URL has {found}.")
        if request.content_type in FORMS:
            for name, values in request.POST.lists():
                if found := next(filter(None, map(unkept, [name, *values])), ""):
                    return refusal(path, HTTPStatus.BAD_REQUEST, f"The form has {found}.")
        return None


FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
