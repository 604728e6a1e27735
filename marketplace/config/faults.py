"""What is answered when our own code fails: a page or, below ``/api/``, a problem document."""

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, HttpResponseServerError, JsonResponse
from django.template.loader import render_to_string

from marketplace.config.problems import PROBLEM_TYPE


def server_error(request: HttpRequest) -> HttpResponse:
    """500, without the database: it may be what failed."""
    if request.path_info.startswith("/api/"):
        problem = {
            "type": "about:blank",
            "title": HTTPStatus.INTERNAL_SERVER_ERROR.phrase,
            "status": 500,
            "instance": request.path,
            "detail": "This is our fault. Try again; if it stays, the log of the server says why.",
        }
        return JsonResponse(problem, status=500, content_type=PROBLEM_TYPE)
    # The request is there for the nonce of the page's scripts; no context processor runs.
    return HttpResponseServerError(render_to_string("500.html", {"request": request}))
