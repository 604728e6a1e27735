"""What this machine has: settings, disk, journals, files, mail, the certificate."""

import shlex
import shutil
import socket
import ssl
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.mail import get_connection

from marketplace.operations.doctor.data_services import is_database_given
from marketplace.operations.doctor.findings import Finding, bad, good, unknown

NEEDED = ("DJANGO_SECRET_KEY", "WAYPOST_KEY_PEPPER", "DATABASE_URL", "BROKER_URL")
WANTED = {
    "ROUTER_ADMIN_TOKEN": "pages cannot ask routers",
    "WAYPOST_METRICS_TOKEN": "Prometheus cannot ask the pages",
}
FREE_BYTES_MIN = 1024**3
FREE_SHARE_MIN = 0.05
CERTIFICATE_DAYS_MIN = 14
CERTIFICATE_TIMEOUT_S = 5.0
DAY_S = 86_400
BOOKS_PAGE = "docs/how-to/when-the-books-do-not-balance.md"
NO_STACK = "start the stack (manage.py up), or set it: docs/reference/settings.md"


def settings_given() -> list[Finding]:
    """What has no default is set."""
    given = {
        "DJANGO_SECRET_KEY": _has_secret_key(),
        "WAYPOST_KEY_PEPPER": bool(settings.WAYPOST_KEY_PEPPER),
        "DATABASE_URL": is_database_given(),
        "BROKER_URL": bool(settings.BROKER_URL),
    }
    if missing := [name for name in NEEDED if not given[name]]:
        return [bad("settings", f"not set: {', '.join(missing)}", NO_STACK)]
    if unset := [name for name in WANTED if not getattr(settings, name)]:
        effects = "; ".join(f"{name} is not set: {WANTED[name]}" for name in unset)
        return [
            bad("settings", effects, "set it as the routers have it: docs/reference/settings.md")
        ]
    return [good("settings", "all that are needed are set")]


def _has_secret_key() -> bool:
    try:
        return bool(settings.SECRET_KEY)
    except ImproperlyConfigured:
        return False


def front_end() -> list[Finding]:
    """The pages' scripts and styles are built."""
    if not (settings.FRONTEND_DIST / ".vite" / "manifest.json").exists():
        return [bad("front end", f"not built in {settings.FRONTEND_DIST}", "make setup")]
    return [good("front end", "built")]


def disk() -> list[Finding]:
    """There is room where this machine keeps its state."""
    home = _existing(settings.WAYPOST_HOME)
    usage = shutil.disk_usage(home)
    text = f"{usage.free / 1024**3:.1f} GB free of {usage.total / 1024**3:.0f} at {home}"
    if usage.free < max(FREE_BYTES_MIN, FREE_SHARE_MIN * usage.total):
        return [bad("disk", text, "make room: a router whose journal cannot grow admits no calls")]
    return [good("disk", text)]


def journals() -> list[Finding]:
    """No router left calls behind on this machine."""
    root = Path(settings.WAYPOST_HOME) / "journal"
    if not root.exists():
        return [good("journals", f"no router keeps one in {root}")]
    found = [
        bad("journals", f"{file} holds calls that the ledger refused", f"replay it: {BOOKS_PAGE}")
        for file in sorted(root.glob("*-rejected.jsonl"))
        if file.stat().st_size
    ]
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if torn := len(list(folder.glob("*.torn"))):
            text = f"{folder} has {torn} damaged segments"
            found.append(bad("journals", text, f"look at them, move them away: {BOOKS_PAGE}"))
        left = [path for path in folder.glob("*.journal") if path.stat().st_size]
        if left and not _is_claimed(folder):
            text = f"{folder} has calls of a router that does not run"
            advice = f"start that router, or manage.py ledger replay {shlex.quote(str(folder))}"
            found.append(bad("journals", text, advice))
    return found or [good("journals", f"nothing is left in {root}")]


def _is_claimed(folder: Path) -> bool:
    """Whether a router has its lock on a journal's folder. To try the lock could stop a start."""
    inode = str(folder.stat().st_ino)
    lines = Path("/proc/locks").read_text().splitlines()
    return any(inode == line.split()[-3].rpartition(":")[2] for line in lines)


def files() -> list[Finding]:
    """What customers upload can be kept."""
    storage = storages["files"]
    name = storage.save(f"doctor/{uuid.uuid4()}", ContentFile(b"doctor"))
    storage.delete(name)
    where = settings.WAYPOST_FILES_BUCKET or settings.WAYPOST_HOME / "files"
    return [good("files", f"{where} can be written")]


def mail() -> list[Finding]:
    """The mail server takes a connection, where there is one."""
    if not settings.MAIL_ON:
        return [unknown("mail", "off: EMAIL_URL is not set, so nobody can reset a password")]
    with get_connection(timeout=settings.EMAIL_TIMEOUT):
        return [good("mail", f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT} answers")]


def certificate() -> list[Finding]:
    """The pages' certificate lasts for a while, where they have one."""
    parts = urlsplit(settings.WAYPOST_PUBLIC_URL)
    if parts.scheme != "https":
        return [unknown("certificate", f"none: {settings.WAYPOST_PUBLIC_URL} is not https")]
    host, port = str(parts.hostname), parts.port or 443
    opened = socket.create_connection((host, port), timeout=CERTIFICATE_TIMEOUT_S)
    with ssl.create_default_context().wrap_socket(opened, server_hostname=host) as secured:
        ends = str((secured.getpeercert() or {}).get("notAfter"))
    days = (ssl.cert_time_to_seconds(ends) - time.time()) / DAY_S
    text = f"that of {host} ends in {days:.0f} days"
    if days < CERTIFICATE_DAYS_MIN:
        return [bad("certificate", text, "renew it, and see why that was not done by itself")]
    return [good("certificate", text)]


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())
