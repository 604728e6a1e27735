"""The list of the management API's operations is what its schema says."""

from tests.architecture.api_reference import PAGE, reference


def test_it_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "run: python -m tests.architecture.api_reference"
