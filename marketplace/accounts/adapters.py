"""How allauth meets this marketplace: who may sign up, and what an identity provider tells."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from django.conf import settings
from django.http import HttpRequest

from marketplace.accounts.invitations.tokens import invitation_waiting
from marketplace.accounts.models import User

FULL_NAME_MAX = 150


class AccountAdapter(DefaultAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """An invitation opens what is closed."""
        return settings.WAYPOST_SIGN_UP_OPEN or invitation_waiting(request) is not None


class SocialAdapter(DefaultSocialAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Whoever the company's provider knows may come in."""
        return True

    def populate_user(
        self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]
    ) -> User:
        user: User = super().populate_user(request, sociallogin, data)
        parts = (data.get("first_name"), data.get("last_name"))
        name = data.get("name") or " ".join(part for part in parts if part)
        user.full_name = str(name)[:FULL_NAME_MAX]
        return user
