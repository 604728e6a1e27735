"""Inside Triton: ``TEXT`` BYTES [rows, 1] → ``HATE`` and ``OFFENSIVE_LANGUAGE`` FP32 [rows, 1], and
``TOKENS`` INT32 [rows, 1], which counts words.

A score is a probability. The classifier has learned from tweets, and in a long text one sentence
would not count: a text is scored sentence by sentence, and has the scores of its worst.
"""

import re
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton

WORD = re.compile(r"[a-zA-Z0-9_]+")
"""As the classifier takes a text apart. Of other alphabets it knows nothing."""
SENTENCE = re.compile(r"[.!?\n]+")
"""What ends one."""
PIECE_WORDS = 24
"""The longest that is scored at once: about a tweet."""
PIECES_AT_ONCE = 64
"""A piece is a row of 28,302 numbers."""
NEITHER = 2
"""The column of what is neither hate (0) nor offensive language (1)."""


class TritonPythonModel:
    """One instance: an ONNX session of one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load ``hatesonar.onnx`` from this file's folder."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(Path(args["model_repository"]) / args["model_version"] / "hatesonar.onnx"),
            options,
            providers=["CPUExecutionProvider"],
        )

    def execute(self, requests: list) -> list:
        """Score each text; an empty one is scored as the classifier scores nothing at all."""
        return [self._scored(triton.get_input_tensor_by_name(r, "TEXT")) for r in requests]

    def _scored(self, tensor: object) -> object:
        texts = [raw.decode("utf-8", "replace") for raw in tensor.as_numpy().ravel()]
        counts = np.zeros((len(texts), 1), np.int32)
        pieces: list[tuple[int, str]] = []
        for row, text in enumerate(texts):
            for sentence in SENTENCE.split(text):
                words = WORD.findall(sentence)
                counts[row] += len(words)
                pieces += [
                    (row, " ".join(words[begin : begin + PIECE_WORDS]))
                    for begin in range(0, len(words), PIECE_WORDS)
                ]
            if not counts[row]:
                pieces.append((row, ""))
        scores = np.zeros((len(texts), 3), np.float32)
        scores[:, NEITHER] = np.inf
        for begin in range(0, len(pieces), PIECES_AT_ONCE):
            some = pieces[begin : begin + PIECES_AT_ONCE]
            given = np.array([piece for _, piece in some], object)
            (found,) = self._session.run(["probabilities"], {"text": given})
            for (row, _), score in zip(some, found, strict=True):
                if score[NEITHER] < scores[row, NEITHER]:
                    scores[row] = score
        return triton.InferenceResponse(
            [
                triton.Tensor("HATE", np.ascontiguousarray(scores[:, 0:1])),
                triton.Tensor("OFFENSIVE_LANGUAGE", np.ascontiguousarray(scores[:, 1:2])),
                triton.Tensor("TOKENS", counts),
            ]
        )
