"""Inside Triton: ``TEXT`` BYTES [rows, 1] → ``EMBEDDING`` FP32 [rows, 256], ``TOKENS`` INT32."""

import triton_python_backend_utils as triton
from wordllama_vectors import Vectors, texts_of


class TritonPythonModel:
    """One instance."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the vectors."""
        self._vectors = Vectors(args["model_config"])

    def execute(self, requests: list) -> list:
        """Embed each text; an empty text has the zero vector."""
        return [self._embed(triton.get_input_tensor_by_name(r, "TEXT")) for r in requests]

    def _embed(self, tensor: object) -> object:
        vectors, counts = self._vectors.embedded(texts_of(tensor))
        return triton.InferenceResponse(
            [triton.Tensor("EMBEDDING", vectors), triton.Tensor("TOKENS", counts)]
        )
