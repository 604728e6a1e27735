"""Inside Triton, beside each model of WordLlama: texts → their vectors and counts of tokens.

WordLlama's static token vectors, read directly: an embedding is the mean of its tokens' vectors,
scaled to length 1. The vectors and the tokenizer come from the ``wordllama`` wheel.
"""

import json
from collections.abc import Iterator

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

PIECE_CHARACTERS = 16 * 1024
"""The tokenizer takes ten times as long for a text that is four times as long."""
PIECES_AT_ONCE = 64
"""A token is a row of 256 numbers, and takes as much again until it is one."""


class Vectors:
    """A table of vectors and a tokenizer, out of the files that a model's parameters name."""

    def __init__(self, model_config: str) -> None:
        parameters = json.loads(model_config)["parameters"]
        self._tokenizer = Tokenizer.from_file(parameters["tokenizer"]["string_value"])
        self._tokenizer.no_padding()
        tensors = load_file(parameters["weights"]["string_value"])
        self._vectors = next(iter(tensors.values())).astype(np.float32)

    def embedded(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """FP32 [texts, 256], zero for an empty text, and INT32 [texts, 1]."""
        vectors = np.zeros((len(texts), self._vectors.shape[1]), np.float32)
        counts = np.zeros((len(texts), 1), np.int32)
        pieces = [(row, piece) for row, text in enumerate(texts) for piece in _pieces(text)]
        for begin in range(0, len(pieces), PIECES_AT_ONCE):
            rows, some = zip(*pieces[begin : begin + PIECES_AT_ONCE], strict=True)
            encodings = self._tokenizer.encode_batch(some, add_special_tokens=False)
            for row, encoding in zip(rows, encodings, strict=True):
                vectors[row] += self._vectors[encoding.ids].sum(axis=0)
                counts[row] += len(encoding.ids)
        vectors /= np.maximum(counts, 1)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors, counts


def _pieces(text: str) -> Iterator[str]:
    """A text in parts that have its tokens: each token begins with the space before it, which the
    tokenizer puts before a part.
    """
    begin = 0
    while len(text) - begin > PIECE_CHARACTERS:
        end = text.rfind(" ", begin + 1, begin + PIECE_CHARACTERS)
        at_space = end > 0
        end = end if at_space else begin + PIECE_CHARACTERS
        yield text[begin:end]
        begin = end + at_space
    yield text[begin:]


def texts_of(tensor: object) -> list[str]:
    """The texts of a BYTES tensor."""
    return [raw.decode("utf-8", "replace") for raw in tensor.as_numpy().ravel()]
