"""Inside Triton: ``FEATURES`` FP32 [rows, 8] → ``FRAUD_PROBABILITY`` FP32 [rows, 1]."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    """One instance: an ONNX session. A batch of requests is scored in one run."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load ``fraud_scorer.onnx`` from beside this file."""
        parameters = json.loads(args["model_config"])["parameters"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters["threads"]["string_value"])
        folder = Path(args["model_repository"]) / args["model_version"]
        self._session = onnxruntime.InferenceSession(
            str(folder / "fraud_scorer.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def execute(self, requests: list) -> list:
        """Score the rows of all requests at once and hand each its own."""
        inputs = [triton.get_input_tensor_by_name(r, "FEATURES").as_numpy() for r in requests]
        (probabilities,) = self._session.run(
            ["probabilities"], {"FEATURES": np.concatenate(inputs)}
        )
        ends = np.cumsum([len(rows) for rows in inputs])[:-1]
        return [
            triton.InferenceResponse([triton.Tensor("FRAUD_PROBABILITY", part[:, 1:2])])
            for part in np.split(probabilities, ends)
        ]
