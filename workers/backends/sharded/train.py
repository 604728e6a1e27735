"""``python -m workers.backends.sharded.train``: train the scorer and write it as two halves."""

import sys
import tempfile
from pathlib import Path

import onnx
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from workers.backends.triton.fraud.transactions import FEATURES, generate

FOLDER = Path(__file__).parent
CUT = "next_activations"
"""The tensor after the first hidden layer: the first stage makes it, the second one takes it."""
STAGES = ("stage0.onnx", "stage1.onnx")
ROWS, SEED, OPSET = 60_000, 20_261_130, 17


def train(rows: int, seed: int) -> Pipeline:
    """A network of two hidden layers on synthetic transactions."""
    transactions = generate(rows, seed=seed)
    network = MLPClassifier((32, 16), max_iter=30, random_state=seed)
    return make_pipeline(StandardScaler(), network).fit(transactions.features, transactions.fraud)


def export(model: Pipeline, folder: Path) -> None:
    """Both halves into the folder."""
    whole = to_onnx(
        model,
        initial_types=[("FEATURES", FloatTensorType([None, len(FEATURES)]))],
        options={id(model): {"zipmap": False}},
        target_opset=OPSET,
    )
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(whole.SerializeToString())
        file.flush()
        for stage, ends in zip(STAGES, (("FEATURES", CUT), (CUT, "probabilities")), strict=True):
            onnx.utils.extract_model(
                file.name, str(folder / stage), [ends[0]], [ends[1]], check_model=False
            )


if __name__ == "__main__":
    export(train(ROWS, SEED), FOLDER)
    sys.exit(0)
