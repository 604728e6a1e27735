"""Signing in, signing up and everything about one's own account.

Our URLs come before allauth's, as views that need mail say so where there is none.
"""

from allauth.account import views as account
from django.urls import URLPattern, URLResolver, include, path

from marketplace.accounts.people import pages as settings
from marketplace.accounts.sign_in.decorators import mail_limited, mail_required

urlpatterns: list[URLPattern | URLResolver] = [
    path("login/", account.login, name="login"),
    path("logout/", account.logout, name="logout"),
    path(
        "login/code/",
        mail_required(mail_limited("request_login_code", account.request_login_code)),
    ),
    path("password/reset/", mail_required(mail_limited("reset_password", account.password_reset))),
    path("email/", mail_required(account.email)),
    path("settings", settings.settings_page, name="settings"),
    path("settings/profile", settings.profile, name="settings-profile"),
    path("settings/leave", settings.leave, name="settings-leave"),
    path("settings/delete", settings.delete, name="settings-delete"),
    path("language", settings.language, name="language"),
    path("", include("allauth.urls")),
]
