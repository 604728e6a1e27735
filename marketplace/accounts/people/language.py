"""Uses the language that a person chose, on every machine they sign in from."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase
from django.utils import translation

from marketplace.accounts.models import User

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class PersonsLanguageMiddleware:
    """Runs after authentication: the user's stored language wins over cookie and browser."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        user = request.user
        if isinstance(user, User) and user.language:
            translation.activate(user.language)
            request.LANGUAGE_CODE = translation.get_language() or user.language
        return self.get_response(request)
