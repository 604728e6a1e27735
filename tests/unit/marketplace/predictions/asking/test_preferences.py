"""Headers that say how long to wait and when to give up, and those that say nothing."""

import pytest

from marketplace.predictions.asking.preferences import HeaderInvalid, cancel_after_s, wait_s


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 0),
        ("respond-async", 0),
        ("wait", 60),
        ("wait=60", 60),
        ("wait=1", 1),
        ('wait="30"', 30),
        ("respond-async, WAIT = 5", 5),
    ],
)
def test_a_wait_is_read(header: str, seconds: float) -> None:
    assert wait_s(header) == seconds


@pytest.mark.parametrize(
    "header",
    [
        "wait=0",
        "wait=61",
        "wait=-1",
        "wait=1.5",
        "wait=x",
        "wait=",
        "wait=٣",
        f"wait={'9' * 5_000}",
    ],
)
def test_a_wait_that_cannot_be_is_refused(header: str) -> None:
    with pytest.raises(HeaderInvalid, match="from 1 to 60") as error:
        wait_s(header)
    assert error.value.param == "Prefer"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", None), ("5s", 5), ("90", 90), ("1m", 60), ("2H", 7_200), ("1d", 86_400), (" 30 s ", 30)],
)
def test_a_deadline_is_read(header: str, seconds: int | None) -> None:
    assert cancel_after_s(header) == seconds


@pytest.mark.parametrize(
    "header", ["4s", "0", "-5s", "1m30s", "soon", "2d", "1.5m", "٣m", "9" * 50]
)
def test_a_deadline_that_cannot_be_is_refused(header: str) -> None:
    with pytest.raises(HeaderInvalid, match="from 5s to 24h") as error:
        cancel_after_s(header)
    assert error.value.param == "Cancel-After"
