"""Adapts allauth: who may sign up, login rate limits, and users from an identity provider."""

from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailConfirmation
from allauth.account.utils import passthrough_next_redirect_url
from allauth.core.internal import ratelimit
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.http import url_has_allowed_host_and_scheme

from marketplace.accounts.invitations.tokens import invitation_waiting
from marketplace.accounts.models import User
from marketplace.accounts.sign_in import known_browsers

FULL_NAME_MAX = 150


class AccountAdapter(DefaultAccountAdapter):
    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Count this attempt by address and machine; in unknown browsers also by address alone."""
        super().pre_authenticate(request, **credentials)
        email = _login(credentials)
        if known_browsers.is_known(request, email):
            return
        tried = ratelimit.consume(
            request, app="allauth.account", action="login_failed_anywhere", key=email
        )
        if not tried:
            raise self.validation_error("too_many_login_attempts")
        # allauth gives these attempts back when the password is right.
        self._login_failed_rl_usage.usage.extend(tried.usage)

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        email = _login(credentials)
        return f"{email}:{known_browsers.place(request, email)}"

    def post_login(self, request: HttpRequest, user: User, **values: Any) -> HttpResponseBase:
        """Redirect as allauth does, and remember the browser."""
        response: HttpResponseBase = super().post_login(request, user, **values)
        known_browsers.remember(request, response, user)
        return response

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """With an open invitation its address can sign up even where sign-up is closed."""
        if settings.WAYPOST_SIGN_UP_OPEN:
            return True
        invitation = invitation_waiting(request)
        if invitation is None:
            return False
        given = request.POST.get("email", "").strip().lower()
        return request.method != "POST" or given == invitation.email.lower()

    def is_safe_url(self, url: str) -> bool:
        """Whether ``next`` stays on the site's public address: no other port or alias will do.

        A path begins with a slash: Django's ``redirect`` takes other texts for names of views.
        """
        return url.startswith(("/", "http://", "https://")) and url_has_allowed_host_and_scheme(
            url,
            allowed_hosts={urlsplit(settings.WAYPOST_PUBLIC_URL).netloc},
            require_https=settings.WAYPOST_PUBLIC_URL.startswith("https:"),
        )

    def get_reset_password_from_key_url(self, key: str) -> str:
        """The link at the site's public address, whatever ``Host`` the request names."""
        return _at_home(super().get_reset_password_from_key_url(key))

    def get_email_confirmation_url(
        self, request: HttpRequest, emailconfirmation: EmailConfirmation
    ) -> str:
        """The link at the site's public address, as above, with the page that one came for.

        The session knows that too, but people open their mail in another browser as well.
        """
        url = _at_home(super().get_email_confirmation_url(request, emailconfirmation))
        return passthrough_next_redirect_url(request, url, REDIRECT_FIELD_NAME)


def _login(credentials: dict[str, Any]) -> str:
    return str(credentials.get("email", "")).lower()


def _at_home(url: str) -> str:
    return settings.WAYPOST_PUBLIC_URL + urlsplit(url).path


class SocialAdapter(DefaultSocialAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Anybody whom the identity provider signs in may sign up."""
        return True

    def populate_user(
        self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]
    ) -> User:
        user: User = super().populate_user(request, sociallogin, data)
        parts = (data.get("first_name"), data.get("last_name"))
        name = data.get("name") or " ".join(part for part in parts if part)
        user.full_name = str(name)[:FULL_NAME_MAX]
        return user
