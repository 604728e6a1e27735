"""What has to be measured, as it was not yet, or has changed since."""

from typing import Any

import pytest

from marketplace.benchmarks.runs.fingerprint import digest
from marketplace.benchmarks.runs.schedule import lacking

NOW = {"version": "1", "digest": "d", "hardware": "CPU", "workers": ["w0"]}


@pytest.mark.parametrize(
    ("measured", "workers", "reason", "worker"),
    [
        ([], ["w0"], "never measured", ""),
        ([NOW], ["w0"], "", ""),
        ([{**NOW, "version": "0"}], ["w0"], "new model version 1", ""),
        ([{**NOW, "digest": "e", "hardware": "GPU"}], ["w0"], "changed: hardware", ""),
        ([NOW], ["w0", "w1"], "new worker w1", "w1"),
        ([{**NOW, "workers": ["w1"]}, NOW], ["w0", "w1"], "", ""),
        ([{**NOW, "workers": ["w1"]}], ["w0", "w1"], "new worker w0", "w0"),
    ],
)
def test_what_is_lacking(measured: list[Any], workers: list[str], reason: str, worker: str) -> None:
    assert lacking(NOW, measured, workers) == (reason, worker)


def test_a_digest_is_of_what_changes_the_speed() -> None:
    assert digest(NOW) == digest({**NOW, "workers": ["w7"], "digest": ""})
    assert digest(NOW) == digest(dict(reversed(NOW.items())))
    assert digest(NOW) != digest({**NOW, "hardware": "GPU"})
