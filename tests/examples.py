"""How much of a test an ordinary run takes, and how much more of it `make nightly`."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from hypothesis import settings

ORDINARY = 50
"""What the profile of ordinary runs has; others have a multiple."""
STORED_FACTOR_MAX = 4


def examples(count: int) -> int:
    """How many generated examples a test takes whose examples cost more, or less, than most.

    ``count`` in an ordinary run; as many times more as the profile in use asks for.
    """
    return count * settings.default.max_examples // ORDINARY


def stored_examples(count: int) -> int:
    """The same where an example is a history in the database, which takes seconds."""
    return min(examples(count), count * STORED_FACTOR_MAX)


def rest_nightly(values: Iterable[Any], ordinary: Collection[Any]) -> list[ParameterSet]:
    """A parameter for each; those that are not ``ordinary`` only `make nightly` takes."""
    return [
        pytest.param(one, marks=() if one in ordinary else pytest.mark.nightly) for one in values
    ]
