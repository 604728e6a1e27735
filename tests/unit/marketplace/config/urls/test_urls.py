"""Names of URLs."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver


def names(patterns: list[Any]) -> Iterator[str]:
    """Names that `reverse` and `{% url %}` find without a namespace."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver) and not pattern.namespace:
            yield from names(pattern.url_patterns)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield pattern.name


def test_a_name_leads_to_one_url() -> None:
    # Else a page's form may be sent to the operation of the API that is called the same.
    found = Counter(names(get_resolver().url_patterns))
    assert [name for name, times in found.items() if times > 1] == []
