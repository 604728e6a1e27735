"""Settings for signing in: mail, allauth, an OpenID provider, rate limits.

Star-imported by ``settings.py``. Without ``EMAIL_URL`` there is no mail, and what needs it (address
verification, codes, password resets) is off and says so.
"""

from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()

# --- Mail ------------------------------------------------------------------------------------
EMAIL_URL = str(env.str("EMAIL_URL", default=""))
WAYPOST_MAIL_FROM = str(env.str("WAYPOST_MAIL_FROM", default=""))
MAIL_ON = bool(EMAIL_URL)
WAYPOST_STAFF_MAIL = [address.strip() for address in env.list("WAYPOST_STAFF_MAIL", default=[])]
if not MAIL_ON and WAYPOST_STAFF_MAIL:
    raise ImproperlyConfigured("WAYPOST_STAFF_MAIL is set, but no EMAIL_URL to send mail by")
if not all("@" in address for address in WAYPOST_STAFF_MAIL):
    raise ImproperlyConfigured(
        "WAYPOST_STAFF_MAIL must be addresses like a@example.com,b@example.com, "
        f"got {WAYPOST_STAFF_MAIL}"
    )
WAYPOST_CONTACT = str(env.str("WAYPOST_CONTACT", default=""))
if WAYPOST_CONTACT and not WAYPOST_CONTACT.startswith(("https://", "mailto:")):
    raise ImproperlyConfigured(
        "WAYPOST_CONTACT must be where people reach the platform's staff, as https://… or "
        f"mailto:help@example.com, got {WAYPOST_CONTACT!r}"
    )
EMAIL_BACKEND = "marketplace.accounts.sign_in.mail.NoMail"
if MAIL_ON:
    try:
        _mail = environ.Env.email_url_config(EMAIL_URL)
    except (KeyError, ValueError) as error:
        raise ImproperlyConfigured(
            "EMAIL_URL cannot be read: it must look like smtp+tls://user:password@host:587, "
            "smtp+ssl://… or consolemail://"
        ) from error
    if "@" not in WAYPOST_MAIL_FROM:
        raise ImproperlyConfigured(
            "WAYPOST_MAIL_FROM must be the address that mail comes from, such as "
            f"Waypost <no-reply@example.com>, as EMAIL_URL is set; got {WAYPOST_MAIL_FROM!r}"
        )
    EMAIL_BACKEND = _mail["EMAIL_BACKEND"]
    EMAIL_HOST = _mail.get("EMAIL_HOST") or "localhost"
    EMAIL_PORT = _mail.get("EMAIL_PORT") or 25
    EMAIL_HOST_USER = _mail.get("EMAIL_HOST_USER") or ""
    EMAIL_HOST_PASSWORD = _mail.get("EMAIL_HOST_PASSWORD") or ""
    EMAIL_USE_TLS = bool(_mail.get("EMAIL_USE_TLS"))
    EMAIL_USE_SSL = bool(_mail.get("EMAIL_USE_SSL"))
    DEFAULT_FROM_EMAIL = SERVER_EMAIL = WAYPOST_MAIL_FROM
# A page waits until the server has taken its mail.
EMAIL_TIMEOUT = 10

# --- Who may sign up, and how people sign in -------------------------------------------------
WAYPOST_SIGN_UP_OPEN = env.bool("WAYPOST_SIGN_UP_OPEN", default=True)
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/models"
LOGOUT_REDIRECT_URL = "/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
ACCOUNT_ADAPTER = "marketplace.accounts.sign_in.adapters.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_SIGNUP_FORM_CLASS = "marketplace.accounts.forms.SignUpFields"
ACCOUNT_SIGNUP_REDIRECT_URL = "/welcome"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
# The page for codes needs mail: marketplace/accounts/urls.py.
ACCOUNT_LOGIN_BY_CODE_ENABLED = True
ACCOUNT_EMAIL_VERIFICATION = "mandatory" if MAIL_ON else "none"
ACCOUNT_EMAIL_NOTIFICATIONS = MAIL_ON
# With mail, the owner of a taken address gets a mail; without, the form has to say it.
ACCOUNT_PREVENT_ENUMERATION = MAIL_ON

# --- Limits of attempts ----------------------------------------------------------------------
ACCOUNT_RATE_LIMITS = {
    "login": "30/m/ip",
    # The key is the address with the client's IP, or with the known browser.
    "login_failed": "10/m/ip,5/5m/key",
    # By address alone, against attempts from many machines. Known browsers are exempt.
    "login_failed_anywhere": "50/h/key",
    "signup": "20/h/ip",
    "request_login_code": "20/h/ip",
    "reset_password": "20/h/ip",
    # The same for mail to a person.
    "request_login_code_here": "5/h/key",
    "request_login_code_anywhere": "20/h/key",
    "reset_password_here": "5/h/key",
    "reset_password_anywhere": "20/h/key",
    # The key is the address alone; generous, so that a stranger cannot use it up.
    "confirm_email": "20/h/ip,60/h/key",
    "consent": "30/h/user",
    "key_exchange": "60/m/ip",
    "reauthenticate": "10/m/user",
    "change_password": "5/m/user",
    "manage_email": "10/m/user",
}
ATTEMPTS_KEPT_MAX = 100_000
CACHES = {
    "default": {
        # Shared by all web processes, and available whenever pages are: ADR 0019.
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "accounts_attempts",
        # With Django's 300 a flood of addresses evicts the attempts on one address.
        "OPTIONS": {"MAX_ENTRIES": ATTEMPTS_KEPT_MAX},
    },
    # A cache in each process, such as for the catalog's lists of filters.
    "process": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
}
ALLAUTH_TRUSTED_PROXY_COUNT = int(env.int("WAYPOST_PROXIES_TRUSTED", default=0))
if ALLAUTH_TRUSTED_PROXY_COUNT < 0:
    raise ImproperlyConfigured(
        f"WAYPOST_PROXIES_TRUSTED must not be below zero, got {ALLAUTH_TRUSTED_PROXY_COUNT}"
    )

# --- A second factor, passkeys, sessions -----------------------------------------------------
WAYPOST_STAFF_SECOND_FACTOR = env.bool("WAYPOST_STAFF_SECOND_FACTOR", default=True)
MFA_ADAPTER = "marketplace.accounts.sign_in.second_factors.SecondFactorAdapter"
# Without mail no address can be verified, and staff would be locked out.
MFA_ALLOW_UNVERIFIED_EMAIL = not MAIL_ON
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Waypost"
# One time step either way, as phones' clocks differ.
MFA_TOTP_TOLERANCE = 1
SESSION_ENGINE = "marketplace.accounts.sessions.store"
USERSESSIONS_ADAPTER = "marketplace.accounts.sessions.ended.SessionsAdapter"
USERSESSIONS_TRACK_ACTIVITY = False

# --- A company's own identity provider -------------------------------------------------------
_OIDC_NAMES = (
    "WAYPOST_OIDC_ISSUER",
    "WAYPOST_OIDC_CLIENT_ID",
    "WAYPOST_OIDC_CLIENT_SECRET",
)
WAYPOST_OIDC_ISSUER = str(env.str("WAYPOST_OIDC_ISSUER", default="")).rstrip("/")
WAYPOST_OIDC_CLIENT_ID = str(env.str("WAYPOST_OIDC_CLIENT_ID", default=""))
WAYPOST_OIDC_CLIENT_SECRET = str(env.str("WAYPOST_OIDC_CLIENT_SECRET", default=""))
WAYPOST_OIDC_NAME = str(env.str("WAYPOST_OIDC_NAME", default="OpenID Connect"))
_given = (WAYPOST_OIDC_ISSUER, WAYPOST_OIDC_CLIENT_ID, WAYPOST_OIDC_CLIENT_SECRET)
OIDC_ON = all(_given)
if any(_given) and not OIDC_ON:
    _missing = ", ".join(name for name, value in zip(_OIDC_NAMES, _given, strict=True) if not value)
    raise ImproperlyConfigured(f"{_missing} is not set: set {', '.join(_OIDC_NAMES)}, or none")
if OIDC_ON and urlsplit(WAYPOST_OIDC_ISSUER).scheme not in {"http", "https"}:
    raise ImproperlyConfigured(
        f"WAYPOST_OIDC_ISSUER must look like https://id.example.com, got {WAYPOST_OIDC_ISSUER!r}"
    )
SOCIALACCOUNT_ADAPTER = "marketplace.accounts.sign_in.adapters.SocialAdapter"
SOCIALACCOUNT_OPENID_CONNECT_URL_PREFIX = "oidc"
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_REQUESTS_TIMEOUT = 10
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": "company",
                "name": WAYPOST_OIDC_NAME,
                "client_id": WAYPOST_OIDC_CLIENT_ID,
                "secret": WAYPOST_OIDC_CLIENT_SECRET,
                "settings": {"server_url": WAYPOST_OIDC_ISSUER},
            }
        ]
        if OIDC_ON
        else [],
    }
}

# --- The audit log ---------------------------------------------------------------------------
AUDITLOG_LOGENTRY_MODEL = "audit.AuditEntry"
# Ours replaces its only table, which its migrations would still create.
MIGRATION_MODULES = {"auditlog": None}
AUDITLOG_DISABLE_ON_RAW_SAVE = True
AUDITLOG_STORE_JSON_CHANGES = True
