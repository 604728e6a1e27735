"""Inside Triton, beside each model of WordLlama: texts → their vectors and counts of tokens.

WordLlama's static token vectors, read directly: an embedding is the mean of its tokens' vectors,
scaled to length 1. The vectors and the tokenizer come from the ``wordllama`` wheel.
"""

import json

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer


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
        encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        vectors = np.zeros((len(texts), self._vectors.shape[1]), np.float32)
        counts = np.zeros((len(texts), 1), np.int32)
        for row, encoding in enumerate(encodings):
            counts[row] = len(encoding.ids)
            if encoding.ids:
                mean = self._vectors[encoding.ids].mean(axis=0)
                vectors[row] = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return vectors, counts


def texts_of(tensor: object) -> list[str]:
    """The texts of a BYTES tensor."""
    return [raw.decode("utf-8", "replace") for raw in tensor.as_numpy().ravel()]
