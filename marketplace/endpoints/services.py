"""Listing an own endpoint, changing how it is used, rotating its key, and removing it.

Its hosts' servers, too: where they are, and whether they drain.
"""

from typing import TypedDict, Unpack
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.models import Organisation, User
from marketplace.catalog.addresses import AddressRefused, HostUnknown, host_of, resolve_now
from marketplace.catalog.models import AIModel
from marketplace.endpoints.models import Dialect, OwnEndpoint, OwnTask, OwnWorker
from marketplace.shared.sealing import Purpose, vault
from marketplace.shared.signals import catalog_changed
from router.domain.addresses import AddressPolicy

KEY_MAX = 500
KEY_END_SHOWN = 4
KEY_LENGTH_SHOWN_FROM = 16
"""Shorter keys show nothing of themselves."""
ENDPOINTS_MAX = 50
"""An organisation's own endpoints at most."""
WORKERS_MAX = 64
"""Servers of an endpoint at most, without those that drain."""
API_PATH = "/v1"


class Use(TypedDict, total=False):
    """How an endpoint is used; see :class:`~marketplace.endpoints.models.OwnEndpoint`."""

    upstream_model: str
    slots: int
    context_tokens_max: int
    completion_tokens_max: int
    stands_for: AIModel | None
    spills: bool
    market_prompt_nano_max: int | None
    market_completion_nano_max: int | None


@transaction.atomic
def own_endpoint_list(
    *,
    organisation: Organisation,
    slug: str,
    task: str,
    url: str = "",
    hosted: bool = False,
    dialect: str = Dialect.OPENAI,
    key: str = "",
    created_by: User | None = None,
    **use: Unpack[Use],
) -> OwnEndpoint:
    """List an endpoint for its organisation alone; routers have it within about a second.

    One that is ``hosted`` gets its servers by agents, and has no URL. Blocks while a URL's name
    resolves. Raises ``ValidationError``: for one that is inside too.
    """
    # One at a time, for the bound below.
    Organisation.objects.select_for_update(no_key=True).get(pk=organisation.pk)
    if organisation.own_endpoints.count() >= ENDPOINTS_MAX:
        raise ValidationError(_("At most %(n)s endpoints of your own.") % {"n": ENDPOINTS_MAX})
    row = OwnEndpoint(
        organisation=organisation,
        slug=slug.lower(),
        task=task,
        dialect=dialect,
        hosted=hosted,
        url="" if hosted else _base(url),
        created_by=created_by,
    )
    if hosted and url:
        raise ValidationError({"url": _("Its hosts' agents say where it is: leave it empty.")})
    _key_put(row, key)
    return _put(row, use)


@transaction.atomic
def own_endpoint_change(*, endpoint: OwnEndpoint, **use: Unpack[Use]) -> OwnEndpoint:
    """Change how it is used. Raises ``ValidationError``."""
    return _put(_locked(endpoint), use)


@transaction.atomic
def own_endpoint_key_rotate(*, endpoint: OwnEndpoint, key: str) -> OwnEndpoint:
    """Call it with another key from now on: calls that run keep the one that they began with.

    Raises ``ValidationError`` for what is no key.
    """
    if not key:
        raise ValidationError({"key": _("Give the new key.")})
    row = _locked(endpoint)
    _key_put(row, key)
    row.save(update_fields=["sealed_key", "masked_key", "key_changed_at"])
    catalog_changed.send(None)
    return row


@transaction.atomic
def own_endpoint_remove(*, endpoint: OwnEndpoint) -> None:
    """Take it out of routing and forget its key. Its calls stay on record."""
    endpoint.delete()
    catalog_changed.send(None)


@transaction.atomic
def own_worker_put(*, worker: OwnWorker, url: str, slots: int) -> OwnWorker:
    """Create or change a server of a host; routers have it within about a second.

    Raises ``ValidationError``: for an address that is inside too, and for one server too many.
    """
    try:
        # A name may be unknown for a moment: prober and routers ask again at each connection.
        worker.url, worker.slots = _base(url, is_known=False), slots
    except ValidationError as error:
        raise ValidationError(
            {
                "url": _("Routers may not call %(url)s: %(why)s. See the agent's --advertise.")
                % {"url": url, "why": " ".join(error.messages).rstrip(".")}
            }
        ) from error
    if worker.pk is None:
        OwnEndpoint.objects.select_for_update(no_key=True).get(pk=worker.endpoint_id)
        if worker.endpoint.workers.filter(draining=False).count() >= WORKERS_MAX:
            raise ValidationError(_("At most %(n)s servers for an endpoint.") % {"n": WORKERS_MAX})
    worker.full_clean()
    worker.save()
    catalog_changed.send(None)
    return worker


@transaction.atomic
def own_worker_drain(*, worker: OwnWorker, draining: bool, why: str = "") -> OwnWorker:
    """Start or end draining a server of a host."""
    worker.draining, worker.drain_reason = draining, why if draining else ""
    worker.save(update_fields=["draining", "drain_reason"])
    catalog_changed.send(None)
    return worker


def _locked(endpoint: OwnEndpoint) -> OwnEndpoint:
    """The endpoint as it is now: what is saved of an earlier reading would bring back its key of
    then, or an endpoint that was removed.
    """
    rows = OwnEndpoint.objects.select_for_update(of=("self",))
    row = rows.select_related("organisation", "stands_for").filter(pk=endpoint.pk).first()
    if row is None:
        raise ValidationError(_("This endpoint was removed."))
    return row


def _put(row: OwnEndpoint, use: Use) -> OwnEndpoint:
    for name, value in use.items():
        setattr(row, name, value)
    _check_use(row)
    row.full_clean()
    row.save()
    catalog_changed.send(None)
    return row


def _check_use(row: OwnEndpoint) -> None:
    model = row.stands_for
    if model is not None and (model.task != row.task or not model.published):
        raise ValidationError(
            {
                "stands_for": _("The market has no %(task)s model of this name.")
                % {"task": row.get_task_display()}
            }
        )
    if row.dialect == Dialect.ANTHROPIC and row.task != OwnTask.CHAT:
        raise ValidationError({"task": _("Anthropic's messages are for chats.")})
    if row.hosted and row.dialect != Dialect.OPENAI:
        raise ValidationError({"dialect": _("Servers of your hosts speak OpenAI's API.")})


def _key_put(row: OwnEndpoint, key: str) -> None:
    """A key is what an HTTP header can carry, and nothing else."""
    if len(key) > KEY_MAX or not (key.isascii() and key.isprintable()) or " " in key:
        raise ValidationError(
            {
                "key": _("A key has at most %(n)s characters of ASCII, without spaces.")
                % {"n": KEY_MAX}
            }
        )
    row.sealed_key = vault(Purpose.ENDPOINTS).seal(key) if key else ""
    row.masked_key = _masked(key)
    row.key_changed_at = timezone.now() if key else None


def _masked(key: str) -> str:
    if len(key) < KEY_LENGTH_SHOWN_FROM:
        return "…" if key else ""
    return f"…{key[-KEY_END_SHOWN:]}"


def base_of(url: str) -> str:
    """The base URL without its ``/v1``."""
    return url.strip().rstrip("/").removesuffix(API_PATH)


def _base(url: str, *, is_known: bool = True) -> str:
    """The base URL, judged. Raises ``ValidationError`` for one that is inside.

    With ``is_known``, for a name that nobody knows, too.
    """
    base = base_of(url)
    try:
        parts = urlsplit(base)
        host, port = host_of(base)
        if parts.scheme not in policies():
            raise AddressRefused(_("It begins with https://."))
        if parts.query or parts.fragment or not base.isascii():
            raise AddressRefused(_("It is a base like https://host/path, in ASCII."))
        resolve_now(host, port, policies()[parts.scheme])
    except AddressRefused as error:
        if is_known or not isinstance(error, HostUnknown):
            # By http some networks may be called, and what is public may not.
            is_plain = base.startswith("http://") and not isinstance(error, HostUnknown)
            said = _("It begins with https://.") if is_plain else str(error)
            raise ValidationError({"url": said}) from error
    return base


def policies() -> dict[str, AddressPolicy]:
    """Which addresses may be called, by scheme: a key goes nowhere by plain http, but into the
    networks that an operator names.
    """
    networks = settings.WAYPOST_ENDPOINT_NETWORKS
    return {"https": AddressPolicy(networks), "http": AddressPolicy(networks, public=False)}
