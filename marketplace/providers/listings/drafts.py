"""What a draft still needs before it can be checked, by field."""

from collections import defaultdict
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from marketplace.catalog.addresses import address_error
from marketplace.catalog.models import (
    BASE_URL,
    MODEL_NAME,
    NAME,
    AIModel,
    Deployment,
    ModelVersion,
    Pool,
    Protocol,
    Provider,
    Task,
)
from marketplace.catalog.prices import usd_text
from marketplace.catalog.shapes import schema_wrong, tensors_wrong
from marketplace.providers.models import Listing
from router.domain.pricing import PRICE_FIELDS
from router.domain.protocols import protocols_of, speaks

ENDPOINTS_MAX = 8
SLOTS_MAX = 1_024
PARAMETERS_MAX = 40
PRICE_NANO_MAX = 2**53
"""Sums of such prices are numbers to the database, and to a browser too."""
Errors = dict[str, list[str]]


def draft_check(listing: Listing) -> None:
    """Raises ``ValidationError`` with everything that is missing or wrong, by field.

    Resolves the endpoints' names: call it outside a transaction that others wait for.
    """
    errors: Errors = defaultdict(list)
    for check in (_model, _version, _pool, _endpoints, _terms):
        check(listing, errors)
    if errors:
        raise ValidationError(dict(errors))


def is_own_author(provider: Provider, name: str) -> bool:
    """A provider writes under its own slug."""
    return name.partition("/")[0] == provider.slug


def pool_of(provider: Provider, name: str) -> Pool | None:
    """The provider's own pool of this name: it made it, or only it sells on it."""
    pool = Pool.objects.filter(name=name).first()
    if pool is None:
        return None
    sellers = set(Deployment.objects.filter(pool=pool).values_list("provider_id", flat=True))
    return pool if sellers == {provider.pk} else None


def pool_fits(listing: Listing, pool: Pool) -> bool:
    """Whether the listing may take this pool: its provider's own, and workers of one listing."""
    is_own = pool_of(listing.provider, pool.name) is not None
    return is_own and not (listing.endpoints and pool_is_shared(listing, pool))


def pool_is_shared(listing: Listing, pool: Pool) -> bool:
    """Whether another deployment than the listing's runs on the pool."""
    return pool.deployments.exclude(pk=listing.deployment_id or 0).exists()


def _model(listing: Listing, errors: Errors) -> None:
    if listing.existing_model is not None:
        _existing(listing, listing.existing_model, errors)
        return
    for name in ("model_name", "display_name", "task", "description", "license"):
        if not getattr(listing, name):
            errors[name].append(_("This field is required."))
    if listing.model_name:
        _model_name(listing, errors)
    if listing.task == Task.CHAT and not listing.context_tokens_max:
        errors["context_tokens_max"].append(_("A chat model needs a context length, in tokens."))
    if listing.task == Task.CHAT and not listing.completion_tokens_max:
        errors["completion_tokens_max"].append(
            _("Set the longest answer, in tokens: it limits what a call can cost.")
        )
    if wrong := schema_wrong(listing.input_schema):
        errors["input_schema"] += wrong
    if wrong := tensors_wrong(listing.tensors) or _tensors_missing(listing):
        errors["tensors"] += wrong


def _existing(listing: Listing, model: AIModel, errors: Errors) -> None:
    if not model.published and not _owns(listing):
        errors["existing_model"].append(_("Choose a model of the catalog."))
    elif model.emulated != listing.provider.emulated:
        errors["existing_model"].append(
            _("An emulated model runs on emulated pools only, and a real one on real pools.")
        )


def _tensors_missing(listing: Listing) -> list[str]:
    protocols = {str(row.get("protocol")) for row in _rows(listing)}
    if protocols & {Protocol.OIP, Protocol.OIP_GRPC} and not listing.tensors.get("inputs"):
        return [_("Models of the Open Inference Protocol must list their tensors.")]
    return []


def _owns(listing: Listing) -> bool:
    return is_own_author(listing.provider, listing.name)


def _model_name(listing: Listing, errors: Errors) -> None:
    try:
        MODEL_NAME(listing.model_name)
    except ValidationError as error:
        errors["model_name"] += error.messages
        return
    if not _owns(listing):
        errors["model_name"].append(
            _("Your models are named %(slug)s/…; offer another author's by choosing it.")
            % {"slug": listing.provider.slug}
        )
    made = model_made(listing)
    others = AIModel.objects.exclude(pk=made.pk) if made else AIModel.objects.all()
    if others.filter(name=listing.model_name).exists():
        errors["model_name"].append(_("A model with this name exists: choose it from the catalog."))
    if made is not None and made.published:
        said = {"model_name": made.name, "task": made.task, "tensors": made.tensors}
        for field, value in said.items():
            if getattr(listing, field) != value:
                errors[field].append(
                    _("This stays as it is in a model that is published: begin another listing.")
                )


def model_made(listing: Listing) -> AIModel | None:
    """The model that the listing has brought, None if its deployment is of somebody else's."""
    model = listing.deployment.version.model if listing.deployment else None
    return model if model is not None and is_own_author(listing.provider, model.name) else None


def _version(listing: Listing, errors: Errors) -> None:
    if not listing.version:
        errors["version"].append(_("This field is required."))
        return
    try:
        NAME(listing.version)
    except ValidationError as error:
        errors["version"] += error.messages
        return
    model = listing.existing_model
    if model is None:
        return
    known = list(ModelVersion.objects.filter(model=model).values_list("version", flat=True))
    if listing.version not in known and not _owns(listing):
        errors["version"].append(
            _("%(model)s has the versions %(known)s; only its author can add others.")
            % {"model": model.name, "known": ", ".join(known)}
        )
    twin = Deployment.objects.filter(
        version__model=model,
        version__version=listing.version,
        provider=listing.provider,
        pool__name=listing.pool_name,
    ).exclude(pk=listing.deployment_id or 0)
    if twin.exists():
        errors["version"].append(_("You already offer this version on this pool."))


def _pool(listing: Listing, errors: Errors) -> None:
    if not listing.pool_name:
        errors["pool_name"].append(_("This field is required."))
        return
    try:
        NAME(listing.pool_name)
    except ValidationError as error:
        errors["pool_name"] += error.messages
        return
    pool = Pool.objects.filter(name=listing.pool_name).first()
    if pool is None:
        for name in ("hardware", "engine", "region"):
            if not getattr(listing, name):
                errors[name].append(_("This field is required."))
    elif pool_of(listing.provider, listing.pool_name) is None:
        errors["pool_name"].append(_("This name is taken: choose another."))


def _rows(listing: Listing) -> list[dict[str, Any]]:
    rows = listing.endpoints
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _endpoints(listing: Listing, errors: Errors) -> None:
    rows = _rows(listing)
    found = []
    pool = pool_of(listing.provider, listing.pool_name)
    shared = pool is not None and pool_is_shared(listing, pool)
    if shared and rows:
        found.append(
            _("This pool already has workers: leave the endpoints empty, or name a new pool.")
        )
    elif not shared and not rows:
        found.append(_("Enter at least one endpoint."))
    if len(rows) > ENDPOINTS_MAX:
        found.append(_("At most %(n)s endpoints per listing.") % {"n": ENDPOINTS_MAX})
    for row in rows[:ENDPOINTS_MAX]:
        found += _endpoint_wrong(row, listing.task_asked)
    if len({row.get("url") for row in rows}) < len(rows):
        found.append(_("Each endpoint needs its own URL."))
    if found:
        errors["endpoints"] += found
    if not listing.upstream_model:
        errors["upstream_model"].append(_("This field is required."))


def _endpoint_wrong(row: dict[str, Any], task: str) -> list[str]:
    url, protocol, slots = str(row.get("url", "")), row.get("protocol"), row.get("slots")
    try:
        BASE_URL(url)
    except ValidationError as error:
        return [f"{url}: {message}" for message in error.messages]
    if protocol not in Protocol.values:
        return [_("%(url)s: the protocol is openai, oip or oip_grpc.") % {"url": url}]
    if task and not speaks(protocol, task):
        wanted = ", ".join(protocols_of(task))
        return [_("%(url)s: models of this task use %(wanted)s.") % {"url": url, "wanted": wanted}]
    if url.startswith("grpc://") != (protocol == Protocol.OIP_GRPC):
        return [_("%(url)s: oip_grpc needs grpc://, the others need http(s)://.") % {"url": url}]
    if type(slots) is not int or not 1 <= slots <= SLOTS_MAX:
        return [
            _(
                "%(url)s: slots must be from 1 to %(most)s. They say how many calls it handles "
                "at once."
            )
            % {"url": url, "most": SLOTS_MAX}
        ]
    wrong = address_error(url)
    return [f"{url}: {wrong}"] if wrong else []


def _terms(listing: Listing, errors: Errors) -> None:
    if not any(getattr(listing, name) for name in PRICE_FIELDS):
        errors["prices"].append(_("A listing needs at least one price."))
    if max(getattr(listing, name) for name in PRICE_FIELDS) > PRICE_NANO_MAX:
        errors["prices"].append(
            _("A price is at most %(price)s.") % {"price": usd_text(PRICE_NANO_MAX, 0)}
        )
    parameters = listing.supported_parameters
    if len(parameters) > PARAMETERS_MAX:
        errors["supported_parameters"].append(
            _("At most %(n)s parameters.") % {"n": PARAMETERS_MAX}
        )
