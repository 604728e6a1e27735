"""What the views of ``/v1/`` have in common."""

from collections.abc import Callable
from typing import Any

from rest_framework.exceptions import NotAuthenticated, NotFound
from rest_framework.request import Request
from rest_framework.views import APIView

from marketplace.inference.callers import Caller, CallerAuthentication
from marketplace.inference.errors import job_error_response


class JobsView(APIView):
    """For callers of inference, with errors in OpenAI's shape. Not in the management API's schema.

    A view looks only at what ``caller.organisation_id`` has.
    """

    authentication_classes = [CallerAuthentication]
    throttle_classes = []
    schema = None

    @property
    def caller(self) -> Caller:
        """Who asks."""
        if not isinstance(self.request.auth, Caller):
            raise NotAuthenticated
        return self.request.auth

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Any]:
        return job_error_response


class UnknownJobPathView(JobsView):
    """404 in OpenAI's shape, for anybody."""

    authentication_classes = []
    permission_classes = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise NotFound(f"There is no {request.method} {request.path}; see the API reference.")
