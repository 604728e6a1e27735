"""Inside Triton: ``COUNT`` INT32 [1] → that many answers ``NUMBER``, one after the other.

A negative count is as many answers and then an error; the log says how far a cancelled one got.
"""

import threading
import time

import numpy as np
import triton_python_backend_utils as triton

PACE_S = 0.01


class TritonPythonModel:
    """Decoupled: answers come from threads of their own, when they like."""

    def execute(self, requests: list) -> None:
        """Begin to count for each request."""
        for request in requests:
            count = int(triton.get_input_tensor_by_name(request, "COUNT").as_numpy().item())
            sender = request.get_response_sender()
            threading.Thread(target=self._count, args=(sender, count)).start()

    def _count(self, sender: object, count: int) -> None:
        for number in range(abs(count)):
            if sender.is_cancelled():
                triton.Logger.log_error(f"counter: cancelled of {count}")
                break
            tensor = triton.Tensor("NUMBER", np.array([number], np.int32))
            sender.send(triton.InferenceResponse([tensor]))
            time.sleep(PACE_S)
        if count < 0:
            sender.send(triton.InferenceResponse(error=triton.TritonError("counted too far")))
        sender.send(flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
