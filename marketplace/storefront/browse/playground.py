"""The parts of a model's playground: kind, form, models to compare with, and texts."""

from typing import Any

from django.conf import settings
from django.db.models import F, OuterRef, Subquery
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from marketplace.catalog.models import AIModel, Task
from marketplace.catalog.selectors import models_published
from marketplace.catalog.verdicts import REASONS, TERMS, VERDICT_NAMES, VERDICTS
from marketplace.storefront.browse.listing import Listing, listings
from marketplace.usage.models import ModelFigures
from router.domain.protocols import usual_kind

RIVALS_MAX = 40
"""Models to compare with at most: the most used ones of the same task."""

WORDS: dict[str, str | Promise] = {
    "required": _("Fill this in."),
    "number": _("A number is needed here."),
    "integer": _("A whole number is needed here."),
    "min": _("At least {min}."),
    "max": _("At most {max}."),
    "above": _("More than {min}."),
    "below": _("Less than {max}."),
    "long": _("At most {max} characters."),
    "pattern": _("This does not match the pattern that the model needs: {pattern}"),
    "option": _("Choose one of: {options}."),
    "rows": _("Add at least one row."),
    "rowsMax": _("At most {max} rows in one call here; a program may send more."),
    "csvWidth": _("Line {line} has {found} values; {wanted} are needed."),
    "csvEmpty": _("The pasted text has no rows."),
    "csvQuote": _("A quote in the pasted text is not closed."),
    "count": _("There are {found} numbers; the shape needs {wanted}."),
    "shape": _("The shape needs whole numbers above zero, {rank} of them."),
    "image": _("Choose an image."),
    "imageKind": _("The browser cannot read this file as an image."),
    "imageBytes": _("The file is larger than {max} MB: choose a smaller one."),
    "imagesMax": _("At most {max} images in one message: the others are left out."),
    "row": _("Row {n}"),
    "removeRow": _("Remove row {n}"),
    "answering": _("Answering…"),
    "anyProvider": _("Any provider"),
    "quoteTokens": _("About {in} tokens in, at most {out} out"),
    "quoteRow": _("1 row"),
    "quoteRows": _("{n} rows"),
    "quoteCost": _("at most {high}"),
    "quoteRange": _("{low} to {high} at most, by provider"),
    "quoteNone": _("No provider offers it now"),
    "quoteFailed": _("The price could not be loaded. You can still send."),
    "quoteMeasured": _("first byte {ttft}, whole answer {total} (p50, n = {calls}, last day)"),
    "quoteMeasuredWhole": _("whole answer {total} (p50, n = {calls}, last day)"),
    "quoteUnmeasured": _("latency not measured yet"),
    "adviceCredit": _("Your credit or a budget does not cover this call."),
    "adviceCreditLink": _("Get credit"),
    "adviceBudgetLink": _("Budgets"),
    "adviceWait": _("Too many requests. Try again in {seconds} s."),
    "adviceSignIn": _("Your session has ended."),
    "adviceSignInLink": _("Sign in again"),
    "adviceRole": _("Your role or key may not do this. Ask an owner or admin."),
    "adviceLarge": _("Send less: a smaller image, or fewer rows."),
    "adviceBusy": _(
        "No worker is available now. Try again in {seconds} s, or choose another provider."
    ),
    "adviceFailed": _("A worker failed, and nothing was charged. Send it again."),
    "adviceBroken": _(
        "The answer was cut off. You pay for what arrived. Send it again for the rest."
    ),
    "adviceUnreachable": _(
        "The router cannot be reached. Try again in a moment; the status page says how it is."
    ),
    "elided": _("{n} values left out here"),
    "topClasses": _("The {n} highest of {of}"),
    "noText": _("(no text)"),
    "figures": _("first byte {ttft} · whole answer {total} · {tokens} tokens · {cost}"),
    "copy": _("Copy"),
    "copied": _("Copied"),
    "removeImage": _("Remove image {n}"),
    "document": _("Document"),
    "score": _("Score"),
    "category": _("Category"),
    "flagged": _("Flagged"),
    "unflagged": _("Not flagged"),
}
UNITS: dict[str, str | Promise] = {
    Task.RERANK: _("Searches"),
    Task.MODERATION: _("Texts"),
    Task.IMAGE: _("Images"),
    Task.SPEECH: _("Characters"),
    Task.TRANSCRIPTION: _("Seconds of sound"),
}
"""What is counted and charged for, where that is neither tokens nor rows."""


def playground_kind(model: AIModel) -> str:
    """The task, or ``form`` where a model takes tensors; "" if it does not say which."""
    if usual_kind(model.task) is not None:
        return str(model.task)
    return "form" if model.tensors.get("inputs") else ""


def playground_settings(listing: Listing) -> dict[str, Any]:
    """Settings for the page's script, as JSON."""
    kind = playground_kind(listing.model)
    unit = {"unit": UNITS[kind]} if kind in UNITS else {}
    return {
        "kind": kind,
        "model": listing.model.name,
        "tensors": listing.model.tensors,
        "models": [_choice(row) for row in _lanes(listing, kind)],
        "router_url": settings.WAYPOST_ROUTER_URL,
        "urls": {name: reverse(name) for name in ("billing", "budgets", "login", "usage")},
        "words": {name: str(word) for name, word in (WORDS | REASONS | unit).items()},
        "verdicts": {name: str(word) for name, word in VERDICTS.items()},
        "verdict_names": {name: str(word) for name, word in VERDICT_NAMES.items()},
        "terms": {name: [str(word) for word in said] for name, said in TERMS.items()},
    }


def _lanes(listing: Listing, kind: str) -> list[Listing]:
    """The model itself, and for a chat the models to compare it with."""
    if kind != Task.CHAT:
        return [listing]
    figures = ModelFigures.objects.filter(model=OuterRef("name"))
    rivals = (
        models_published()
        .filter(task=Task.CHAT)
        .exclude(pk=listing.model.pk)
        .annotate(use=Subquery(figures.values("calls")))
        .order_by(F("use").desc(nulls_last=True), "name")[:RIVALS_MAX]
    )
    return [listing, *(row for row in listings(rivals) if row.priced)]


def _choice(listing: Listing) -> dict[str, Any]:
    model = listing.model
    providers = {p.deployment.provider.slug: p.deployment.provider.name for p in listing.priced}
    return {
        "name": model.name,
        "display_name": model.display_name,
        "emulated": model.emulated,
        "completion_tokens_max": model.completion_tokens_max,
        "schema": model.input_schema,
        "providers": [{"slug": slug, "name": name} for slug, name in sorted(providers.items())],
    }
