"""Full-text search of models in PostgreSQL: prefixes while typing, stems of both languages.

The vector is a stored column (``sql/search.sql``). It is no field of the model, so it is never
loaded. If no word matches, names are compared by similarity, where ``pg_trgm`` is installed.
"""

import re
from functools import reduce
from operator import and_, or_

from django.contrib.postgres.search import SearchQuery, SearchRank, SearchVectorField
from django.db.models import F, FloatField, Func, QuerySet, TextField, Value
from django.db.models.functions import Concat, Least

from marketplace.catalog.models import AIModel

WORD = re.compile(r"\w+")
WORDS_MAX = 12
"""Words of a search at most; further ones are ignored."""
STEMS = ("english", "portuguese")
LIKENESS_MIN = 0.3
"""Least similarity of a word; pg_trgm's default for texts. One wrong letter in five passes."""


def words_of(text: str, most: int | None = WORDS_MAX) -> list[str]:
    """The search words in a text."""
    return WORD.findall(text.casefold())[:most]


def search(models: QuerySet[AIModel], text: str) -> QuerySet[AIModel]:
    """Models with every word, or one that begins with it, annotated with ``rank``.

    A text without words finds nothing; an empty text returns all models unranked.
    """
    words = words_of(text)
    if not words:
        return models.none().annotate(rank=Value(0.0)) if text.strip() else models
    vector = Func(template='"catalog_aimodel"."search"', output_field=SearchVectorField())
    query = reduce(and_, [_word(word) for word in words])
    return models.alias(vector=vector).filter(vector=query).annotate(rank=SearchRank(vector, query))


def search_alike(models: QuerySet[AIModel], text: str) -> QuerySet[AIModel]:
    """Models with a name similar to the text, annotated with ``rank``."""
    name = Concat("display_name", Value(" "), "name", output_field=TextField())
    likeness = [
        Func(Value(word), name, function="catalog_likeness", output_field=FloatField())
        for word in words_of(text)
    ]
    if not likeness:
        return models.none().annotate(rank=Value(0.0))
    least = Least(*likeness) if len(likeness) > 1 else likeness[0]
    return models.annotate(rank=least).filter(rank__gte=LIKENESS_MIN)


def by_rank(models: QuerySet[AIModel]) -> QuerySet[AIModel]:
    """Order by best match."""
    return models.order_by(F("rank").desc(), "emulated", "display_name", "pk")


def _word(word: str) -> SearchQuery:
    prefix = SearchQuery(f"{word}:*", config="simple", search_type="raw")
    return reduce(or_, [SearchQuery(word, config=stem) for stem in STEMS], prefix)
