"""The filters of the catalog, read from and written to its URL."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.catalog.models import MODEL_NAME, Task
from marketplace.catalog.prices import number_text
from marketplace.shared.numbers import whole
from marketplace.shared.typed_numbers import plain_number, unmistakable

MODALITIES: dict[str, Promise] = {
    "text": gettext_lazy("Text"),
    "table": gettext_lazy("Table rows"),
    "image": gettext_lazy("Images"),
    "audio": gettext_lazy("Sound"),
}
TASKS_BY_MODALITY = {
    "text": (
        Task.CHAT,
        Task.EMBEDDINGS,
        Task.RERANK,
        Task.MODERATION,
        Task.IMAGE,
        Task.SPEECH,
    ),
    "table": (Task.TABULAR,),
    "image": (Task.VISION,),
    "audio": (Task.TRANSCRIPTION,),
}
"""The tasks by the modality of their input."""
KINDS: dict[str, Promise] = {
    "": gettext_lazy("Real and emulated"),
    "real": gettext_lazy("Real only"),
    "emulated": gettext_lazy("Emulated only"),
}
RELEVANCE = "relevance"
SORTS: dict[str, Promise] = {
    RELEVANCE: gettext_lazy("Best match"),
    "name": gettext_lazy("Name"),
    "price": gettext_lazy("Price"),
    "speed": gettext_lazy("Measured speed"),
    "throughput": gettext_lazy("Throughput"),
    "use": gettext_lazy("Most used"),
    "newest": gettext_lazy("Newest"),
    "context": gettext_lazy("Longest context"),
}
CONTEXTS = (4_096, 8_192, 32_768, 131_072, 1_000_000)
"""Context lengths that the page offers, in tokens; the URL may have any."""
VIEWS: dict[str, Promise] = {"cards": gettext_lazy("Cards"), "table": gettext_lazy("Table")}
COMPARED_MAX = 4
VALUES_MAX = 50
"""Values of one filter at most; further ones are ignored."""
CONTEXT_MAX = 2**31 - 1
PRICE_MAX = Decimal(10**6)


@dataclass(frozen=True, slots=True)
class Filters:
    """The catalog's filters; ``price_max`` is in USD, see ``listing.price_bound``.

    A single deployment must match provider, hardware, parameters, privacy and price together.
    """

    words: str = ""
    tasks: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    context_min: int = 0
    price_max: Decimal | None = None
    providers: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    private: bool = False
    kind: str = ""
    measured: bool = False
    sort: str = ""
    view: str = "cards"
    chosen: tuple[str, ...] = ()

    @property
    def order(self) -> str:
        """The sort: the chosen one, else best matches first for a search."""
        if self.sort and (self.words or self.sort != RELEVANCE):
            return self.sort
        return RELEVANCE if self.words else "name"

    @property
    def narrows(self) -> bool:
        """Whether it has a filter besides the search words."""
        shown = replace(self, words="", sort="", view="cards", chosen=())
        return shown != Filters()

    def pairs(self) -> Iterator[tuple[str, Any]]:
        """The pairs of the URL's query, without defaults."""
        for name, value in (
            ("q", self.words),
            *(("task", task) for task in self.tasks),
            *(("takes", modality) for modality in self.modalities),
            ("context", self.context_min),
            ("price", "" if self.price_max is None else unmistakable(self.price_max.normalize())),
            *(("provider", provider) for provider in self.providers),
            *(("hardware", hardware) for hardware in self.hardware),
            *(("parameter", parameter) for parameter in self.parameters),
            ("private", int(self.private)),
            ("kind", self.kind),
            ("measured", int(self.measured)),
            ("sort", self.sort),
            ("view", "" if self.view == "cards" else self.view),
            *(("m", name) for name in self.chosen),
        ):
            if value:
                yield name, value

    def url(self, **changes: Any) -> str:
        """The query with some filters changed; it begins with a question mark."""
        return f"?{urlencode(list(replace(self, **changes).pairs()))}"

    @property
    def canonical(self) -> str:
        """The canonical query: it leaves out what only changes the display."""
        query = urlencode(list(replace(self, view="cards", chosen=()).pairs()))
        return f"?{query}" if query else ""


def filters_of(query: QueryDict) -> Filters:
    """The filters in a URL's query. Invalid values are ignored."""
    return Filters(
        words=query.get("q", "").strip()[:200],
        tasks=_among(query, "task", set(Task.values)),
        modalities=_among(query, "takes", set(MODALITIES)),
        context_min=_whole(query.get("context", ""), CONTEXT_MAX),
        price_max=_price(query.get("price", "")),
        providers=_values(query, "provider"),
        hardware=_values(query, "hardware"),
        parameters=_values(query, "parameter"),
        private=query.get("private") == "1",
        kind=query.get("kind", "") if query.get("kind") in KINDS else "",
        measured=query.get("measured") == "1",
        sort=query.get("sort", "") if query.get("sort") in SORTS else "",
        view="table" if query.get("view") == "table" else "cards",
        chosen=chosen_of(query),
    )


def chosen_of(query: QueryDict) -> tuple[str, ...]:
    """The models to compare, without duplicates and within the limit."""
    names = [name for name in _values(query, "m") if re.search(MODEL_NAME.regex, name)]
    return tuple(names[:COMPARED_MAX])


def chips(filters: Filters, providers: dict[str, str]) -> list[tuple[str, str]]:
    """The active filters: label, and the query without it."""
    found: list[tuple[str, str]] = []
    if filters.words:
        found.append((f"“{filters.words}”", filters.url(words="", sort="")))
    for name, labels in (
        ("tasks", dict(Task.choices)),
        ("modalities", MODALITIES),
        ("providers", providers),
        ("hardware", {}),
        ("parameters", {}),
    ):
        values = getattr(filters, name)
        found += [
            (str(labels.get(value, value)), filters.url(**{name: _without(values, value)}))
            for value in values
        ]
    if filters.context_min:
        label = _("Context from %(n)s tokens") % {"n": number_text(filters.context_min, 0)}
        found.append((label, filters.url(context_min=0)))
    if filters.price_max is not None:
        price = filters.price_max.normalize()
        decimals = max(0, -int(price.as_tuple().exponent))
        label = _("Up to $%(price)s") % {"price": number_text(price, decimals)}
        found.append((label, filters.url(price_max=None)))
    if filters.private:
        found.append((_("Keeps no data"), filters.url(private=False)))
    if filters.kind:
        found.append((str(KINDS[filters.kind]), filters.url(kind="")))
    if filters.measured:
        found.append((_("Measured"), filters.url(measured=False)))
    return found


def price_problem(query: QueryDict) -> str:
    """What is wrong with a price that :func:`filters_of` does not read; empty for any other."""
    text = query.get("price", "")
    try:
        plain_number(text)
    except ValidationError as error:
        return str(error.message)
    if text.strip() and _price(text) is None:
        return _("The maximum price is a number from 0 to %(most)s.") % {
            "most": number_text(PRICE_MAX, 0)
        }
    return ""


def _without(values: tuple[str, ...], value: str) -> tuple[str, ...]:
    return tuple(other for other in values if other != value)


def _values(query: QueryDict, name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in query.getlist(name) if value))[:VALUES_MAX]


def _among(query: QueryDict, name: str, known: set[str]) -> tuple[str, ...]:
    return tuple(value for value in _values(query, name) if value in known)


def _whole(text: str, most: int) -> int:
    return min(whole(text) or 0, most)


def _price(text: str) -> Decimal | None:
    try:
        price = Decimal(plain_number(text))
    except (InvalidOperation, ValidationError):
        return None
    return round(price, 6) if price.is_finite() and 0 <= price <= PRICE_MAX else None
