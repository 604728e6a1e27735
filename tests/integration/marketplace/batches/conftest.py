"""Files in a folder of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def files_folder() -> Iterator[Path]:
    from tests.integration.marketplace.batches.desk import files_in_a_folder

    with files_in_a_folder() as folder:
        yield folder
