"""Finds what a text may mean to the person who typed it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import Organisation
from marketplace.catalog.selectors import models_published
from marketplace.config.search.guides import guides_found
from marketplace.usage.models import UsageEvent
from router.domain.keys import KEY_PREFIX, digest_key

QUERY_CHARACTERS = 200
CHARACTERS_MIN = 2
"""Shorter text matches too much."""
HITS_MAX = 6
"""Of each kind: whoever sees more reads none."""
MASK_CHARACTERS = 4
"""The end of a key that its masked form shows."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A result: its name, where it is, and a second line."""

    text: str
    url: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """The results of one kind, under a heading; never empty."""

    label: Promise
    hits: list[Hit]


def search(
    text: str,
    *,
    organisation: Organisation | None,
    is_staff: bool,
    sections: list[dict[str, Any]],
) -> list[Kind]:
    """What matches, best kind first; ``sections`` are the navigation's, as the person sees them.

    A whole key is looked up by its digest. A call is found by its id alone.
    """
    text = text.strip()[:QUERY_CHARACTERS]
    if text.startswith(f"{KEY_PREFIX}_") and "…" not in text:
        digest = digest_key(text, settings.WAYPOST_KEY_PEPPER)
        return _kinds((_("Keys"), _keys(organisation, Q(digest=digest))))
    if (request_id := _uuid(text)) is not None:
        return _kinds((_("Calls"), _calls(request_id, organisation, is_staff=is_staff)))
    words = text.casefold().split()
    if len(text) < CHARACTERS_MIN:
        return []
    named = Q(name__icontains=text)
    if len(text) == MASK_CHARACTERS:
        named |= Q(masked__endswith=text)
    return _kinds(
        (_("Pages"), _pages(words, sections)),
        (_("Models"), _models(words)),
        (_("Keys"), _keys(organisation, named)),
        (_("Documentation"), _guides(words)),
    )


def _kinds(*found: tuple[Promise, list[Hit]]) -> list[Kind]:
    return [Kind(label, hits) for label, hits in found if hits]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _pages(words: list[str], sections: list[dict[str, Any]]) -> list[Hit]:
    entries = (
        (str(entry["label"]), str(section["label"]), entry["url_name"])
        for section in sections
        for entry in section["entries"]
    )
    return [
        Hit(label, reverse(url_name), section)
        for label, section, url_name in entries
        if all(word in f"{label} {section}".casefold() for word in words)
    ][:HITS_MAX]


def _models(words: list[str]) -> list[Hit]:
    rows = models_published()
    for word in words:
        rows = rows.filter(Q(name__icontains=word) | Q(display_name__icontains=word))
    return [
        Hit(row.display_name, reverse("model", args=(row.author, row.slug)), row.name)
        for row in rows[:HITS_MAX]
    ]


def _keys(organisation: Organisation | None, which: Q) -> list[Hit]:
    if organisation is None:
        return []
    page = reverse("keys")
    rows = organisation.api_keys.filter(which)[:HITS_MAX]
    return [Hit(row.name, f"{page}?key={row.pk}#key-{row.pk}", row.masked) for row in rows]


def _calls(request_id: UUID, organisation: Organisation | None, *, is_staff: bool) -> list[Hit]:
    row = UsageEvent.objects.filter(pk=request_id).only("model", "organisation_id").first()
    if row is None:
        return []
    if organisation is not None and row.organisation_id == organisation.pk:
        return [Hit(row.model, reverse("call", args=(request_id,)), str(request_id))]
    if is_staff:
        return [Hit(row.model, reverse("support-call", args=(request_id,)), str(request_id))]
    return []


def _guides(words: list[str]) -> list[Hit]:
    found = guides_found(Path(settings.WHITENOISE_ROOT), words, HITS_MAX)
    return [
        Hit(guide.title, guide.url, guide.page if guide.page != guide.title else "")
        for guide in found
    ]
