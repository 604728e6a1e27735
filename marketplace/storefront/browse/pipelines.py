"""Pipelines beside the models of the catalog: found by the same words, shown as cards."""

from collections.abc import Collection
from dataclasses import dataclass

from marketplace.pipelines.definition import Definition
from marketplace.pipelines.models import Pipeline
from marketplace.pipelines.selectors import pipelines_seen
from marketplace.storefront.browse.filters import Filters
from marketplace.storefront.browse.search import words_of

SHOWN_MAX = 12
"""Pipelines on the catalog's first page; a search finds the others."""


@dataclass(frozen=True, slots=True)
class PipelineCard:
    """A pipeline with its definition, read once."""

    row: Pipeline
    definition: Definition


def pipelines_found(filters: Filters, organisation_ids: Collection[int]) -> list[PipelineCard]:
    """Those that match the words, by name. None with a filter on what only models have."""
    if filters.narrows:
        return []
    words = words_of(filters.words)
    if filters.words and not words:
        return []
    rows = pipelines_seen(organisation_ids)
    for word in words:
        rows = rows.filter(definition_text__icontains=word)
    found = []
    for row in rows.iterator():
        card = PipelineCard(row, row.definition)
        if _matches(card.definition, words):
            found.append(card)
            if len(found) == SHOWN_MAX:
                break
    return found


def _matches(definition: Definition, words: list[str]) -> bool:
    """Whether each word begins one of its name, its description or its models' names."""
    models = " ".join(stage.model for stage in definition.stages)
    text = f"{definition.name} {definition.display_name} {definition.description} {models}"
    known = words_of(text, most=None)
    return all(any(one.startswith(word) for one in known) for word in words)
