"""Inside Triton: ``TEXT`` BYTES [rows, 1] → ``EMBEDDING`` FP32 [rows, 256], ``TOKENS`` INT32.

WordLlama's static token vectors, read directly: an embedding is the mean of its tokens' vectors,
scaled to length 1. The vectors and the tokenizer come from the ``wordllama`` wheel.
"""

import json

import numpy as np
import triton_python_backend_utils as triton
from safetensors.numpy import load_file
from tokenizers import Tokenizer


class TritonPythonModel:
    """One instance: a table of vectors and a tokenizer."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the files that the model's parameters name."""
        parameters = json.loads(args["model_config"])["parameters"]
        self._tokenizer = Tokenizer.from_file(parameters["tokenizer"]["string_value"])
        self._tokenizer.no_padding()
        tensors = load_file(parameters["weights"]["string_value"])
        self._vectors = next(iter(tensors.values())).astype(np.float32)

    def execute(self, requests: list) -> list:
        """Embed each text; an empty text has the zero vector."""
        return [self._embed(triton.get_input_tensor_by_name(r, "TEXT")) for r in requests]

    def _embed(self, tensor: object) -> object:
        texts = [raw.decode("utf-8", "replace") for raw in tensor.as_numpy().ravel()]
        encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        vectors = np.zeros((len(texts), self._vectors.shape[1]), np.float32)
        counts = np.zeros((len(texts), 1), np.int32)
        for row, encoding in enumerate(encodings):
            counts[row] = len(encoding.ids)
            if encoding.ids:
                mean = self._vectors[encoding.ids].mean(axis=0)
                vectors[row] = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return triton.InferenceResponse(
            [triton.Tensor("EMBEDDING", vectors), triton.Tensor("TOKENS", counts)]
        )
