"""WordLlama's vectors, as its models in Triton have them."""

import json
import tracemalloc

import numpy as np
import pytest

from workers.backends.triton.models.wordllama_vectors import PIECE_CHARACTERS, Vectors
from workers.backends.weights import packaged_file

NAMES = {
    "tokenizer": "l2_supercat_tokenizer_config.json",
    "weights": "l2_supercat_256.safetensors",
}
SENTENCE = "A railway station in the rain, at night. "
MEMORY_BYTES_MAX = 64 * 1024 * 1024


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    found = {key: str(packaged_file("wordllama", name)) for key, name in NAMES.items()}
    parameters = {key: {"string_value": value} for key, value in found.items()}
    return Vectors(json.dumps({"parameters": parameters}))


def test_a_text_in_pieces_has_all_of_its_tokens(vectors: Vectors) -> None:
    once, ten = SENTENCE, SENTENCE * (10 * PIECE_CHARACTERS // len(SENTENCE))
    (one, many), (tokens, tokens_of_many) = vectors.embedded([once.strip(), ten.strip()])
    np.testing.assert_allclose(one, many, atol=1e-3)
    assert tokens_of_many == tokens * (len(ten) // len(once))


def test_a_text_without_spaces_is_cut_anywhere(vectors: Vectors) -> None:
    found, tokens = vectors.embedded(["x" * (2 * PIECE_CHARACTERS + 1)])
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-3)
    assert tokens.item() > PIECE_CHARACTERS / 8


def test_a_long_text_takes_no_row_of_numbers_for_each_of_its_tokens(vectors: Vectors) -> None:
    tracemalloc.start()
    try:
        _, tokens = vectors.embedded(["a " * 200_000])
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert tokens.item() >= 200_000
    assert peak_bytes < MEMORY_BYTES_MAX
