"""Django settings, from the environment. A missing or wrong one stops the start and is named.

Secrets have no default. The commands of ``SECRETLESS_COMMANDS`` use neither the database nor
signatures, so they also run on a checkout where nothing is set yet.
"""

import sys
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from wsgiref.headers import Headers

import environ
from csp.constants import NONCE, NONE, SELF, STRICT_DYNAMIC
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from marketplace.config.file_storage import files_storage
from marketplace.config.identity import *  # noqa: F403
from marketplace.shared.observing.logs import FORMATS
from router.domain.addresses import AddressPolicy

BASE_DIR = Path(__file__).resolve().parents[2]
OWNER_COMMANDS = {"migrate", "usage", "flush", "audit"}
"""Commands for which the rights of the services do not suffice: they come as the tables' owner."""
SECRETLESS_COMMANDS = {
    "",
    "help",
    "up",
    "down",
    "status",
    "restore",
    "doctor",
    "collectstatic",
    "version",
    "--version",
}

SECRETS_KEY_CHARACTERS_MIN = 32

env = environ.Env()


def _command() -> str:
    if Path(sys.argv[0]).name != "manage.py":
        return "unknown"
    return sys.argv[1] if len(sys.argv) > 1 else ""


def _required(name: str) -> str:
    value = str(env.str(name, default=""))
    if value or _command() in SECRETLESS_COMMANDS or {"-h", "--help"} & set(sys.argv):
        return value
    raise ImproperlyConfigured(
        f"{name} is not set; `manage.py up` sets it, or see docs/reference/settings.md"
    )


def _origin(name: str, default: str) -> str:
    value = str(env.str(name, default=default)).rstrip("/")
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path:
        raise ImproperlyConfigured(f"{name} must look like https://host[:port], got {value!r}")
    return value


def _positive(name: str, default: int) -> int:
    value = int(env.int(name, default=default))
    if value <= 0:
        raise ImproperlyConfigured(f"{name} must be above zero, got {value}")
    return value


def _not_negative(name: str, default: int) -> int:
    value = int(env.int(name, default=default))
    if value < 0:
        raise ImproperlyConfigured(f"{name} must not be below zero, got {value}")
    return value


def _hours(name: str, default: str) -> tuple[int, ...]:
    words = str(env.str(name, default=default)).replace(",", " ").split()
    if not all(word.isdecimal() and int(word) < 24 for word in words):
        raise ImproperlyConfigured(f"{name} must be hours from 0 to 23 like 3,15, got {words}")
    return tuple(int(word) for word in words)


def _secrets_keys(name: str) -> list[bytes]:
    keys = [str(key).encode() for key in env.list(name, default=[])]
    if any(len(key) < SECRETS_KEY_CHARACTERS_MIN for key in keys):
        raise ImproperlyConfigured(
            f"{name} must be random texts, separated by commas, each of at least "
            f"{SECRETS_KEY_CHARACTERS_MIN} characters"
        )
    return keys


def _networks(name: str) -> list[str]:
    networks = [network for network in env.list(name, default=[]) if network.strip()]
    try:
        AddressPolicy(networks)
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{name} must be CIDR blocks like 10.0.0.0/8: {error}"
        ) from error
    return networks


def _database(name: str, url: str) -> dict[str, Any]:
    if not url:
        return {}
    try:
        config: dict[str, Any] = dict(environ.Env.db_url_config(url))
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} cannot be read: {error}") from error
    if config.get("ENGINE") != "django.db.backends.postgresql":
        raise ImproperlyConfigured(
            f"{name} must be postgres://user:password@host:port/name: "
            "the ledger lives in PostgreSQL functions"
        )
    # One small pool a process; a request waits this long for a connection, then fails with 503.
    # The pool doubles its waits between attempts for five minutes: after an outage of a minute
    # it could wait another. It gives up sooner here, and the next request starts again.
    config["OPTIONS"] = {
        **config.get("OPTIONS", {}),
        "pool": {"min_size": 0, "max_size": 8, "timeout": 5, "reconnect_timeout": 2},
    }
    # Finds connections that broke in a restart of the database before a request uses them.
    config["CONN_HEALTH_CHECKS"] = True
    return config


# --- Where things are ------------------------------------------------------------------------
WAYPOST_HOME = Path(env.str("WAYPOST_HOME", default=str(BASE_DIR / ".waypost")))
WAYPOST_PUBLIC_URL = _origin("WAYPOST_PUBLIC_URL", "http://127.0.0.1:8000")
WAYPOST_ROUTER_URL = _origin("WAYPOST_ROUTER_URL", "http://127.0.0.1:8080")
WAYPOST_ISSUER = str(env.str("WAYPOST_ISSUER", default="Waypost"))
WAYPOST_EMULATED = env.bool("WAYPOST_EMULATED", default=True)

# --- Secrets ---------------------------------------------------------------------------------
SECRET_KEY = _required("DJANGO_SECRET_KEY")
SECRET_KEY_FALLBACKS = env.list("DJANGO_SECRET_KEY_FALLBACKS", default=[])
WAYPOST_KEY_PEPPER = _required("WAYPOST_KEY_PEPPER").encode()
WAYPOST_SECRETS_KEYS = _secrets_keys("WAYPOST_SECRETS_KEYS")
# The routers' own setting, too: they open the keys of organisations' own endpoints.
WAYPOST_ENDPOINT_SECRETS_KEYS = _secrets_keys("WAYPOST_ENDPOINT_SECRETS_KEYS")
SESSION_TOKEN_TTL_S = 600
WAYPOST_METRICS_TOKEN = str(env.str("WAYPOST_METRICS_TOKEN", default=""))
ROUTER_ADMIN_TOKEN = str(env.str("ROUTER_ADMIN_TOKEN", default=""))

# --- Data services ---------------------------------------------------------------------------
_SERVICES = _database("DATABASE_URL", _required("DATABASE_URL"))
_OWNER = _database("MIGRATE_DATABASE_URL", str(env.str("MIGRATE_DATABASE_URL", default="")))
DATABASES = {"default": _OWNER or _SERVICES if _command() in OWNER_COMMANDS else _SERVICES}
SERVICES_ROLE = str(_SERVICES.get("USER", ""))
"""The PostgreSQL role of pages and jobs, and of routers that have none of their own."""
WAYPOST_ROUTERS_ROLE = str(env.str("WAYPOST_ROUTERS_ROLE", default=""))
BROKER_URL = str(env.str("BROKER_URL", default=""))
WAYPOST_CONTROL_PROCESSES = _positive("WAYPOST_CONTROL_PROCESSES", 3)
WAYPOST_WORK_PROCESSES = _positive("WAYPOST_WORK_PROCESSES", 2)
WAYPOST_CALLS_PROCESSES = _positive("WAYPOST_CALLS_PROCESSES", 2)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Payments --------------------------------------------------------------------------------
STRIPE_SECRET_KEY = str(env.str("STRIPE_SECRET_KEY", default=""))
STRIPE_WEBHOOK_SECRET = str(env.str("STRIPE_WEBHOOK_SECRET", default=""))
STRIPE_API = "https://api.stripe.com"
STRIPE_API_URL = _origin("STRIPE_API_URL", STRIPE_API)
PAYMENTS_ON = bool(STRIPE_SECRET_KEY)
if bool(STRIPE_WEBHOOK_SECRET) != PAYMENTS_ON:
    # With only one of them, payments would never reach an account.
    _missing, _given = ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET")[:: -1 if PAYMENTS_ON else 1]
    raise ImproperlyConfigured(
        f"{_missing} is not set but {_given} is: set both, or neither to take no payments"
    )
WAYPOST_TOPUP_CENTS_MIN = _positive("WAYPOST_TOPUP_CENTS_MIN", 500)
WAYPOST_TOPUP_CENTS_MAX = _positive("WAYPOST_TOPUP_CENTS_MAX", 100_000)
if WAYPOST_TOPUP_CENTS_MAX < WAYPOST_TOPUP_CENTS_MIN:
    raise ImproperlyConfigured("WAYPOST_TOPUP_CENTS_MAX must not be below WAYPOST_TOPUP_CENTS_MIN")
WAYPOST_TRIAL_CREDIT_CENTS = _not_negative("WAYPOST_TRIAL_CREDIT_CENTS", 0)
WAYPOST_BACKUP_HOURS_MAX = _not_negative("WAYPOST_BACKUP_HOURS_MAX", 48)

# --- Benchmarks ------------------------------------------------------------------------------
WAYPOST_BENCHMARKS_AUTO = env.bool("WAYPOST_BENCHMARKS_AUTO", default=True)
WAYPOST_BENCHMARKS_AT_ONCE = _positive("WAYPOST_BENCHMARKS_AT_ONCE", 1)
WAYPOST_BENCHMARK_RESERVE_AFTER_S = _not_negative("WAYPOST_BENCHMARK_RESERVE_AFTER_S", 300)
WAYPOST_BENCHMARK_HOURS = _hours("WAYPOST_BENCHMARK_HOURS", "3")
WAYPOST_REHEARSAL_HOURS = _hours("WAYPOST_REHEARSAL_HOURS", "")

# --- Files and batches -----------------------------------------------------------------------
UPLOAD_PATHS = frozenset({"/v1/files", "/batches/upload"})
UPLOAD_BODY_BYTES_MAX = 201 * 1000 * 1000
"""A file of 200 MB in a form, which takes a little more."""
UPLOADS_AT_ONCE = 8
WAYPOST_FILES_BUCKET = str(env.str("WAYPOST_FILES_BUCKET", default=""))
WAYPOST_FILES_ENDPOINT = str(env.str("WAYPOST_FILES_ENDPOINT", default=""))
WAYPOST_FILES_BYTES_MAX = _positive("WAYPOST_FILES_BYTES_MAX", 10_000_000_000)
WAYPOST_FILES_DAYS = _positive("WAYPOST_FILES_DAYS", 30)
WAYPOST_BATCHES_AT_ONCE = _positive("WAYPOST_BATCHES_AT_ONCE", 1)
WAYPOST_BATCH_DISCOUNT_BPS = _not_negative("WAYPOST_BATCH_DISCOUNT_BPS", 5_000)
if WAYPOST_BATCH_DISCOUNT_BPS > 10_000:
    raise ImproperlyConfigured(
        f"WAYPOST_BATCH_DISCOUNT_BPS must be at most 10000, got {WAYPOST_BATCH_DISCOUNT_BPS}"
    )

# --- Predictions -----------------------------------------------------------------------------
WAYPOST_PREDICTION_KEPT_HOURS = _positive("WAYPOST_PREDICTION_KEPT_HOURS", 72)
WAYPOST_PREDICTION_OUTPUT_BYTES_MAX = _positive("WAYPOST_PREDICTION_OUTPUT_BYTES_MAX", 8_000_000)

# --- Endpoints of providers and customers ----------------------------------------------------
# The router's own setting: our checks call only what it may call.
ROUTER_UPSTREAM_NETWORKS = _networks("ROUTER_UPSTREAM_NETWORKS")
# Customers name these URLs: what a provider's worker may be is not for them.
WAYPOST_WEBHOOK_NETWORKS = _networks("WAYPOST_WEBHOOK_NETWORKS")
WAYPOST_WEBHOOK_BYTES_MAX = _positive("WAYPOST_WEBHOOK_BYTES_MAX", 1_000_000_000)
# The routers' own setting, too.
WAYPOST_ENDPOINT_NETWORKS = _networks("WAYPOST_ENDPOINT_NETWORKS")
WAYPOST_ENDPOINT_FEE_NANO = _not_negative("WAYPOST_ENDPOINT_FEE_NANO", 0)

# --- Applications ----------------------------------------------------------------------------
DEBUG = env.bool("DJANGO_DEBUG", default=False)
ROOT_URLCONF = "marketplace.config.urls.root"
WSGI_APPLICATION = "marketplace.config.wsgi.application"
INSTALLED_APPS = [
    # First, as our audit log's admin replaces that of the library.
    "auditlog",
    "marketplace.accounts",
    "marketplace.audit",
    "marketplace.catalog",
    "marketplace.billing",
    "marketplace.endpoints",
    "marketplace.routing",
    "marketplace.agents",
    "marketplace.usage",
    "marketplace.keys",
    "marketplace.presets",
    "marketplace.inference",
    "marketplace.webhooks",
    "marketplace.batches",
    "marketplace.pipelines",
    "marketplace.predictions",
    "marketplace.benchmarks",
    "marketplace.planning",
    "marketplace.tuning",
    "marketplace.dead_letters",
    "marketplace.operations",
    "marketplace.support",
    "marketplace.storefront",
    "marketplace.providers",
    "marketplace.demo",
    "deploy.local",
    # Its pages are discovered in `urls.py`: a command needs none of them.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "django_htmx",
    "django_vite",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
]
MIDDLEWARE = [
    "marketplace.config.middleware.observed.ObservedMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "marketplace.config.middleware.security.ContentSecurityPolicyMiddleware",
    "marketplace.config.middleware.security.PermissionsPolicyMiddleware",
    "marketplace.config.middleware.security.NoStoreMiddleware",
    "marketplace.config.middleware.boundary.BoundaryMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "marketplace.config.middleware.addresses.AddressMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "marketplace.accounts.people.language.PersonsLanguageMiddleware",
    "marketplace.config.middleware.staff.StaffSecondFactorMiddleware",
    "marketplace.audit.middleware.AuditMiddleware",
]
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "frontend" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "marketplace.accounts.organisations.current.acting_for",
                "marketplace.config.navigation.navigation",
                "marketplace.accounts.sign_in.decorators.signing_in",
            ],
        },
    }
]

# --- Language and time -----------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("pt-br", _("Brazilian Portuguese"))]
LOCALE_PATHS = [BASE_DIR / "frontend" / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# --- Static files ----------------------------------------------------------------------------
FRONTEND_DIST = BASE_DIR / "frontend" / "dist"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# Missing until the front end is built; Django would warn about it.
STATICFILES_DIRS = [FRONTEND_DIST] if FRONTEND_DIST.is_dir() else []
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
    # Customers' files: marketplace/batches.
    "files": files_storage(
        folder=WAYPOST_HOME / "files",
        bucket=WAYPOST_FILES_BUCKET,
        endpoint_url=WAYPOST_FILES_ENDPOINT,
    ),
}
# Served from the build folder: `make run` has no collectstatic step.
WHITENOISE_USE_FINDERS = True
warnings.filterwarnings("ignore", message="No directory at: .*(staticfiles|site)")
# The documentation, built by `deploy.docs`: site/docs/ is at /docs/, to anybody.
WHITENOISE_ROOT = BASE_DIR / "site"
WHITENOISE_INDEX_FILE = True
WHITENOISE_IMMUTABLE_FILE_TEST = (
    r"^/static/assets/.+-[0-9A-Za-z_-]{8}\.\w+$|^/docs/assets/.+\.[0-9a-f]{8}\.min\.\w+$"
)
# Commands also run before the front end is built; a page without its manifest still fails.
SILENCED_SYSTEM_CHECKS = ["django_vite.W001"]
DJANGO_VITE = {
    "default": {
        "dev_mode": env.bool("DJANGO_VITE_DEV", default=False),
        "manifest_path": FRONTEND_DIST / ".vite" / "manifest.json",
    }
}

# --- Security --------------------------------------------------------------------------------
_PUBLIC = urlsplit(WAYPOST_PUBLIC_URL)
_BEHIND_TLS = _PUBLIC.scheme == "https"
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_HOSTS = {str(_PUBLIC.hostname), *env.list("DJANGO_ALLOWED_HOSTS", default=[])}
# All names of this machine if the site uses one of them, as `manage.py up` does. Django compares
# with what stands in the header: an IPv6 address in brackets.
ALLOWED_HOSTS = sorted(
    f"[{host}]" if ":" in host and not host.startswith("[") else host
    for host in _HOSTS | (_LOOPBACK if _PUBLIC.hostname in _LOOPBACK else set())
)
CSRF_TRUSTED_ORIGINS = [WAYPOST_PUBLIC_URL]
ACCOUNT_DEFAULT_HTTP_PROTOCOL = _PUBLIC.scheme
# Browsers allow passkeys over http on localhost only.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not _BEHIND_TLS
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _BEHIND_TLS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
_DEV = ["http://localhost:5173", "ws://localhost:5173"]
_VITE = _DEV if DJANGO_VITE["default"]["dev_mode"] else []
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        # A script runs if our page names it with the nonce, or if such a script loads it.
        "script-src": [NONCE, STRICT_DYNAMIC],
        "style-src": [SELF, *_VITE],
        "img-src": [SELF, "data:", "blob:"],
        "media-src": [SELF, "blob:"],
        "font-src": [SELF, *_VITE],
        # The playground also talks to the router.
        "connect-src": [SELF, WAYPOST_ROUTER_URL, *_VITE],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
# The generated pages have scripts and styles of their own inside, and nothing that visitors wrote.
_DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)


def _add_docs_policy(headers: Headers, path: str, url: str) -> None:
    if url.startswith("/docs/"):
        headers["Content-Security-Policy"] = _DOCS_POLICY


WHITENOISE_ADD_HEADERS_FUNCTION = _add_docs_policy
# TLS ends at a proxy, which also redirects: routers, probes and Prometheus come here over plain
# HTTP. Whether the domain's other hosts speak HTTPS, which two of these ask, is its owner's to say.
SILENCED_SYSTEM_CHECKS += ["security.W008", "security.W005", "security.W021"]
if _BEHIND_TLS:
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- Management API --------------------------------------------------------------------------
WAYPOST_API_WRITES_PER_MINUTE = _positive("WAYPOST_API_WRITES_PER_MINUTE", 600)
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "marketplace.accounts.authentication.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["marketplace.accounts.throttling.WritesThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["marketplace.config.parsing.KeptJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "marketplace.shared.paging.NewestFirst",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "marketplace.config.errors.problems.problem_response",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Waypost management API",
    "DESCRIPTION": "Organisations, keys, catalog, policies, usage, the ledger and invoices.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "marketplace.config.errors.schema.with_problems",
    ],
    "ENUM_NAME_OVERRIDES": {
        "AccountKindEnum": "marketplace.billing.models.AccountKind",
        "TransferKindEnum": "marketplace.billing.models.TransferKind",
        "DeliveryStateEnum": "marketplace.webhooks.models.DeliveryState",
        "RunStateEnum": "marketplace.shared.jobs.models.JobState",
        "ListingStateEnum": "marketplace.providers.listings.states.ListingState",
        "PolicyKindEnum": "marketplace.routing.models.PolicyKind",
        "TaskEnum": "marketplace.catalog.models.Task",
        "OwnTaskEnum": "marketplace.endpoints.models.OwnTask",
    },
}

# --- Logs and traces -------------------------------------------------------------------------
WAYPOST_LOG_FORMAT = env.str("WAYPOST_LOG_FORMAT", default="text")
if WAYPOST_LOG_FORMAT not in FORMATS:
    raise ImproperlyConfigured(
        f"WAYPOST_LOG_FORMAT must be {' or '.join(FORMATS)}, got {WAYPOST_LOG_FORMAT!r}"
    )
WAYPOST_LOG_REQUESTS = env.bool("WAYPOST_LOG_REQUESTS", default=False)
_TRACE_SHARE = env.float("WAYPOST_TRACE_SHARE", default=1.0)
if not 0 <= _TRACE_SHARE <= 1:
    raise ImproperlyConfigured(f"WAYPOST_TRACE_SHARE must be from 0 to 1, got {_TRACE_SHARE}")
TRACE_SHARE = _TRACE_SHARE if env.str("OTEL_EXPORTER_OTLP_ENDPOINT", default="") else None

_LOGS = "marketplace.shared.observing.logs"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": f"{_LOGS}.TextFormatter"},
        "json": {"()": f"{_LOGS}.JSONFormatter"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": WAYPOST_LOG_FORMAT}},
    "root": {"handlers": ["console"], "level": "INFO"},
    # One line for each call is noise; the caller logs the result.
    "loggers": {"httpx": {"level": "WARNING"}, "stripe": {"level": "WARNING"}},
}
