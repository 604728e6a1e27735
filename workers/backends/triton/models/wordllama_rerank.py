"""Inside Triton: ``QUERY`` and ``DOCUMENT`` BYTES [rows, 1] → ``SCORE`` FP32 and ``TOKENS`` INT32.

A score is the cosine of the two texts' vectors: a document is compared with the query, not read
together with it.
"""

import numpy as np
import triton_python_backend_utils as triton
from wordllama_vectors import Vectors, texts_of


class TritonPythonModel:
    """One instance."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the vectors."""
        self._vectors = Vectors(args["model_config"])

    def execute(self, requests: list) -> list:
        """Score each row; an empty text has the score 0."""
        return [self._scored(request) for request in requests]

    def _scored(self, request: object) -> object:
        queries, documents = (
            texts_of(triton.get_input_tensor_by_name(request, name))
            for name in ("QUERY", "DOCUMENT")
        )
        # A call has one query, repeated in each row.
        distinct = list(dict.fromkeys(queries))
        places = {query: place for place, query in enumerate(distinct)}
        rows = [places[query] for query in queries]
        asked, asked_tokens = self._vectors.embedded(distinct)
        vectors, tokens = self._vectors.embedded(documents)
        scores = (asked[rows] * vectors).sum(axis=1, keepdims=True).astype(np.float32)
        return triton.InferenceResponse(
            [triton.Tensor("SCORE", scores), triton.Tensor("TOKENS", tokens + asked_tokens[rows])]
        )
