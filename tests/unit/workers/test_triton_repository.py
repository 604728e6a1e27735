"""What Triton gets to know about the models it serves."""

from pathlib import Path

import numpy as np
import onnxruntime

from marketplace.batches.formats.rows import PIECE_ROWS_MAX
from marketplace.demo.schemas import FRAUD_INPUT
from workers.backends.triton.hatesonar import write_hatesonar
from workers.backends.triton.repository import FRAUD_ROWS_MAX, PROFILES, write_repository


def test_triton_takes_as_many_rows_as_the_catalog_says_and_a_batch_sends(tmp_path: Path) -> None:
    write_repository(tmp_path, PROFILES["batched"])
    config = (tmp_path / "fraud_scorer/config.pbtxt").read_text()
    assert f"max_batch_size: {FRAUD_ROWS_MAX}\n" in config
    assert FRAUD_INPUT["properties"]["FEATURES"]["maxItems"] == FRAUD_ROWS_MAX <= PIECE_ROWS_MAX


def test_the_profiles_differ_in_what_makes_a_pool_fast(tmp_path: Path) -> None:
    for name, profile in PROFILES.items():
        write_repository(tmp_path / name, profile)
    batched = (tmp_path / "batched/fraud_scorer/config.pbtxt").read_text()
    single = (tmp_path / "single/fraud_scorer/config.pbtxt").read_text()
    assert "dynamic_batching" in batched
    assert "count: 2" in batched
    assert "dynamic_batching" not in single
    assert "count: 1" in single


def test_every_model_is_warm_before_triton_calls_itself_ready(tmp_path: Path) -> None:
    write_repository(tmp_path, PROFILES["single"])
    for name, given in (("fraud_scorer", "FEATURES"), ("wordllama_256", "TEXT")):
        config = (tmp_path / name / "config.pbtxt").read_text()
        (warm_up,) = [line for line in config.splitlines() if line.startswith("model_warmup")]
        assert f'key: "{given}"' in warm_up


def test_a_repository_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    (folder / "left_over/1").mkdir(parents=True)
    write_repository(folder, PROFILES["single"])
    assert sorted(path.name for path in folder.iterdir()) == [
        "fraud_scorer",
        "hatesonar",
        "wordllama_256",
        "wordllama_rerank",
    ]
    assert (folder / "fraud_scorer/1/fraud_scorer.onnx").exists()


def test_the_moderation_tells_hate_from_swearing_without_a_locale(tmp_path: Path) -> None:
    write_hatesonar(tmp_path / "hatesonar.onnx")
    session = onnxruntime.InferenceSession(
        str(tmp_path / "hatesonar.onnx"), providers=["CPUExecutionProvider"]
    )
    texts = ["What a lovely day.", "This SHIT is amazing", "white trash hillbilly"]
    (scores,) = session.run(["probabilities"], {"text": np.array(texts, object)})
    assert scores.argmax(axis=1).tolist() == [2, 1, 0]
