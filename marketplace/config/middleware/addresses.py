"""One address a page: with a slash at its end too many or missing, one is led to it."""

from http import HTTPMethod, HTTPStatus

from django.http import HttpRequest, HttpResponseBase
from django.middleware.common import CommonMiddleware
from django.urls import is_valid_path

READING = frozenset({HTTPMethod.GET, HTTPMethod.HEAD})


class AddressMiddleware(CommonMiddleware):
    """Django's, which adds a missing slash, and takes off what is too many.

    Below ``/api/`` and ``/v1/`` each path has a view that answers, so nothing is led elsewhere.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Lead to the page whose address lacks the slashes at the end; else as Django does."""
        if response.status_code == HTTPStatus.NOT_FOUND and _has_slashes_too_many(request):
            path, mark, query = request.get_full_path().partition("?")
            return self.response_redirect_class(path.rstrip("/") + mark + query)
        return super().process_response(request, response)


def _has_slashes_too_many(request: HttpRequest) -> bool:
    path = request.path_info
    return (
        request.method in READING
        and path.endswith("/")
        and not is_valid_path(path)
        and bool(is_valid_path(path.rstrip("/")))
    )
