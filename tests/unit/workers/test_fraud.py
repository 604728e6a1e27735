"""The committed fraud model is what its card says, and the script still makes such a model."""

import json

import numpy as np
import onnxruntime
from sklearn.metrics import roc_auc_score

from workers.backends.triton.fraud.train import CARD_PATH, MODEL_PATH, evaluate, export, train
from workers.backends.triton.fraud.transactions import FEATURES, generate

FRESH_SEED = 99


def score(model: bytes, features: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"FEATURES": features})
    return probabilities[:, 1]


def test_the_committed_model_reaches_its_cards_auc() -> None:
    card = json.loads(CARD_PATH.read_text())
    test = generate(card["test"]["rows"], seed=card["test"]["seed"])
    figures = evaluate(test.fraud, score(MODEL_PATH.read_bytes(), test.features))
    assert figures["auc"] == card["test"]["auc"]
    assert card["features"] == list(FEATURES)
    assert card["bytes"] == MODEL_PATH.stat().st_size


def test_it_tells_fraud_apart_on_transactions_it_never_saw() -> None:
    fresh = generate(20_000, seed=FRESH_SEED)
    assert roc_auc_score(fresh.fraud, score(MODEL_PATH.read_bytes(), fresh.features)) > 0.75


def test_the_script_trains_a_model_that_exports_and_scores_alike() -> None:
    model = train(4_000, trees=10, seed=1)
    rows = generate(500, seed=2).features
    assert np.allclose(
        score(export(model), rows), model.predict_proba(rows)[:, 1], rtol=1e-3, atol=1e-5
    )


def test_transactions_are_the_same_for_the_same_seed() -> None:
    assert np.array_equal(generate(100, seed=3).features, generate(100, seed=3).features)
    assert not np.array_equal(generate(100, seed=3).features, generate(100, seed=4).features)
