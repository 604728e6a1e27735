"""``python -m workers.backends.triton.fraud.train``: train the scorer, write ONNX and its card."""

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import average_precision_score, roc_auc_score

from workers.backends.triton.fraud.transactions import FEATURES, generate

FOLDER = Path(__file__).parent
MODEL_PATH = FOLDER / "fraud_scorer.onnx"
CARD_PATH = FOLDER / "fraud_scorer.json"
OPSET = 17
TRAIN_SEED, TEST_SEED = 20_261_123, 7
TRAIN_ROWS, TEST_ROWS = 60_000, 30_000


def train(rows: int, *, trees: int, seed: int) -> GradientBoostingClassifier:
    """A gradient-boosted classifier on ``rows`` synthetic transactions."""
    transactions = generate(rows, seed=seed)
    model = GradientBoostingClassifier(
        n_estimators=trees, max_depth=4, learning_rate=0.08, subsample=0.7, random_state=seed
    )
    return model.fit(transactions.features, transactions.fraud)


def export(model: GradientBoostingClassifier) -> bytes:
    """ONNX with input ``FEATURES`` and the probabilities of both classes as ``probabilities``."""
    onnx = to_onnx(
        model,
        initial_types=[("FEATURES", FloatTensorType([None, len(FEATURES)]))],
        options={id(model): {"zipmap": False}},
        target_opset=OPSET,
    )
    return onnx.SerializeToString()


def evaluate(fraud: NDArray[np.int64], probability: NDArray[np.float32]) -> dict[str, float]:
    """Area under the ROC curve and average precision, rounded to four digits."""
    return {
        "auc": round(float(roc_auc_score(fraud, probability)), 4),
        "average_precision": round(float(average_precision_score(fraud, probability)), 4),
        "fraud_share": round(float(fraud.mean()), 4),
    }


def main() -> int:
    """Train at full size and replace the committed model and its card."""
    parser = argparse.ArgumentParser(prog="python -m workers.backends.triton.fraud.train")
    parser.add_argument("--trees", type=int, default=150)
    trees = parser.parse_args().trees
    model = train(TRAIN_ROWS, trees=trees, seed=TRAIN_SEED)
    test = generate(TEST_ROWS, seed=TEST_SEED)
    figures = evaluate(test.fraud, model.predict_proba(test.features)[:, 1])
    MODEL_PATH.write_bytes(export(model))
    card = {
        "features": FEATURES,
        "training": {"rows": TRAIN_ROWS, "seed": TRAIN_SEED, "trees": trees, "data": "synthetic"},
        "test": {"rows": TEST_ROWS, "seed": TEST_SEED, **figures},
        "libraries": {name: version(name) for name in ("scikit-learn", "skl2onnx", "numpy")},
        "bytes": MODEL_PATH.stat().st_size,
    }
    CARD_PATH.write_text(json.dumps(card, indent=2) + "\n")
    print(f"{MODEL_PATH.name}: {card['bytes']} bytes, test {figures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
