"""Synthetic card transactions with a known rule behind the label. Seeded, so repeatable.

``python -m workers.backends.triton.fraud.transactions ROWS`` prints them as a CSV file.

No real person or payment is in here. Fraud is drawn from a logistic rule over the features with
interactions (far from home *and* at night *and* a risky merchant), plus noise, at about 2 % of
transactions, so a good model reaches an AUC well above chance but not 1.
"""

import argparse
import sys
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

FEATURES = (
    "amount_usd",
    "hour_of_day",
    "km_from_home",
    "minutes_since_last",
    "transactions_last_day",
    "merchant_risk",
    "card_present",
    "account_age_days",
)
"""Column order of the model's input tensor ``FEATURES`` (FP32, shape [rows, 8])."""


@dataclass(frozen=True, slots=True)
class Transactions:
    """``features`` is float32 [rows, 8]; ``fraud`` is int64 [rows], 0 or 1."""

    features: NDArray[np.float32]
    fraud: NDArray[np.int64]


def generate(rows: int, *, seed: int) -> Transactions:
    """Draw transactions and label them."""
    rng = np.random.default_rng(seed)
    amount = rng.lognormal(3.4, 1.1, rows)
    hour = rng.choice(24, rows, p=_hours())
    distance = rng.exponential(12, rows) * np.where(rng.random(rows) < 0.06, 40, 1)
    since_last = rng.exponential(420, rows)
    last_day = rng.poisson(2.2, rows)
    merchant_risk = rng.beta(1.4, 6, rows)
    card_present = (rng.random(rows) < 0.62).astype(float)
    account_age = rng.gamma(2.0, 500, rows)

    night = (hour < 6).astype(float)
    logit = (
        -5.5
        + 0.9 * np.log1p(amount / 60)
        + 0.8 * np.log1p(distance / 30)
        + 4.2 * merchant_risk
        + 0.24 * last_day
        - 1.1 * card_present
        - 0.0005 * account_age
        + 0.8 * night
        + 2.4 * night * (distance > 100) * (merchant_risk > 0.25)
        + 1.6 * (since_last < 5) * (amount > 150)
        + rng.normal(0, 0.5, rows)
    )
    fraud = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    columns = (
        amount, hour, distance, since_last, last_day, merchant_risk, card_present, account_age,
    )  # fmt: skip
    return Transactions(np.stack(columns, axis=1).astype(np.float32), fraud)


def _hours() -> NDArray[np.float64]:
    """People pay by day: the shape of a day's payments, summing to 1."""
    weight = 1.2 + np.cos((np.arange(24) - 15) / 24 * 2 * np.pi)
    return weight / weight.sum()


def write_csv(features: NDArray[np.float32], out: IO[str]) -> None:
    """As a file of rows: an id, and the features under their names."""
    out.write(",".join(("id", *FEATURES)) + "\n")
    for number, row in enumerate(features.astype(str)):
        out.write(f"t{number + 1},{','.join(row)}\n")


def main() -> int:
    """Print a file of transactions."""
    parser = argparse.ArgumentParser(prog="python -m workers.backends.triton.fraud.transactions")
    parser.add_argument("rows", type=int)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    write_csv(generate(options.rows, seed=options.seed).features, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
