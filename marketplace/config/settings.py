"""Django settings, from the environment. What is missing or wrong stops the start by name.

Secrets have no default. The commands of ``SECRETLESS_COMMANDS`` reach neither the database nor
a signature, so they also run on a checkout where nothing is set yet.
"""

import re
import sys
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

BASE_DIR = Path(__file__).resolve().parents[2]
SECRETLESS_COMMANDS = {"", "help", "up", "down", "status", "collectstatic", "version", "--version"}

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


def _database(url: str) -> dict[str, Any]:
    if not url:
        return {}
    try:
        config: dict[str, Any] = dict(environ.Env.db_url_config(url))
    except ValueError as error:
        raise ImproperlyConfigured(f"DATABASE_URL cannot be read: {error}") from error
    if config.get("ENGINE") != "django.db.backends.postgresql":
        raise ImproperlyConfigured(
            "DATABASE_URL must be postgres://user:password@host:port/name: "
            "the ledger lives in PostgreSQL functions"
        )
    # One small pool a process; a request waits this long for a connection, then fails with 500.
    config["OPTIONS"] = {"pool": {"min_size": 0, "max_size": 8, "timeout": 10}}
    return config


# --- Where things are ------------------------------------------------------------------------
SWITCHYARD_HOME = Path(env.str("SWITCHYARD_HOME", default=str(BASE_DIR / ".switchyard")))
SWITCHYARD_PUBLIC_URL = _origin("SWITCHYARD_PUBLIC_URL", "http://127.0.0.1:8000")
SWITCHYARD_ROUTER_URL = _origin("SWITCHYARD_ROUTER_URL", "http://127.0.0.1:8080")
SWITCHYARD_EMULATED = env.bool("SWITCHYARD_EMULATED", default=True)

# --- Secrets ---------------------------------------------------------------------------------
SECRET_KEY = _required("DJANGO_SECRET_KEY")
SWITCHYARD_KEY_PEPPER = _required("SWITCHYARD_KEY_PEPPER").encode()
SESSION_TOKEN_TTL_S = 600

# --- Data services ---------------------------------------------------------------------------
DATABASES = {"default": _database(_required("DATABASE_URL"))}
BROKER_URL = str(env.str("BROKER_URL", default=""))
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Applications ----------------------------------------------------------------------------
DEBUG = env.bool("DJANGO_DEBUG", default=False)
ROOT_URLCONF = "marketplace.config.urls"
WSGI_APPLICATION = "marketplace.config.wsgi.application"
INSTALLED_APPS = [
    "marketplace.accounts",
    "marketplace.catalog",
    "marketplace.billing",
    "marketplace.routing",
    "marketplace.usage",
    "marketplace.benchmarks",
    "marketplace.demo",
    "deploy.local",
    "django.contrib.admin",
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
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "marketplace.config.security.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
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
                "marketplace.accounts.pages.navigation",
            ],
        },
    }
]

# --- Signing in ------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
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
# Absent on a checkout that has not built the front end; Django warns about a missing folder.
STATICFILES_DIRS = [FRONTEND_DIST] if FRONTEND_DIST.is_dir() else []
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
# Served straight from where they are built: `make run` has no collectstatic step.
WHITENOISE_USE_FINDERS = True
warnings.filterwarnings("ignore", message="No directory at: .*staticfiles")
_VITE_HASHED = re.compile(r"^.+-[0-9A-Za-z_-]{8}\.\w+$")


def _is_immutable(path: str, url: str) -> bool:
    return url.startswith(f"{STATIC_URL}assets/") and _VITE_HASHED.match(url) is not None


WHITENOISE_IMMUTABLE_FILE_TEST = _is_immutable
# Commands also run before the front end is built; a page without its manifest still fails.
SILENCED_SYSTEM_CHECKS = ["django_vite.W001"]
DJANGO_VITE = {
    "default": {
        "dev_mode": env.bool("DJANGO_VITE_DEV", default=False),
        "manifest_path": FRONTEND_DIST / ".vite" / "manifest.json",
    }
}

# --- Security --------------------------------------------------------------------------------
_PUBLIC = urlsplit(SWITCHYARD_PUBLIC_URL)
_BEHIND_TLS = _PUBLIC.scheme == "https"
ALLOWED_HOSTS = sorted(
    {str(_PUBLIC.hostname), "127.0.0.1", "localhost", *env.list("DJANGO_ALLOWED_HOSTS", default=[])}
)
CSRF_TRUSTED_ORIGINS = [SWITCHYARD_PUBLIC_URL]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _BEHIND_TLS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if _BEHIND_TLS:
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- Management API --------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "marketplace.accounts.authentication.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "marketplace.config.paging.NewestFirst",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "marketplace.config.problems.problem_response",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Switchyard management API",
    "DESCRIPTION": "Organisations, keys, catalog, policies, usage and the ledger.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "AccountKindEnum": "marketplace.billing.models.AccountKind",
        "TransferKindEnum": "marketplace.billing.models.TransferKind",
        "PolicyKindEnum": "marketplace.routing.models.PolicyKind",
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    # One line a probe is noise; what changed is said by the prober.
    "loggers": {"httpx": {"level": "WARNING"}},
}
