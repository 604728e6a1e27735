"""The reference of the command line is what its code says."""

from tests.architecture.cli_reference import PAGE, reference


def test_it_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "run: python -m tests.architecture.cli_reference"
