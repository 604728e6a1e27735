"""``python -m workers.backends.sharded --port P --stage N``: one stage of a model cut in two.

Stage 0 speaks the Open Inference Protocol, runs the first layers and sends what comes of them to
stage 1, at ``--next``; it is ready while that one is. Together they are a gang.
"""

import argparse
import http.client
import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import onnxruntime

HOST = "127.0.0.1"
MODEL = "fraud_mlp"
FEATURES = 8
ROWS_MAX = 10_000
BODY_BYTES_MAX = 8 * 1024 * 1024
NEXT_TIMEOUT_S = 10.0
FOLDER = Path(__file__).parent


class Unfit(Exception):
    """The request is not one of this model; the message says why."""


class Broken(Exception):
    """The other stage does not answer."""


class Stage:
    """A half of the network, and where the other half is."""

    def __init__(self, number: int, following: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(FOLDER / f"stage{number}.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0]
        self._next = following

    def run(self, rows: np.ndarray) -> np.ndarray:
        """Its own half alone."""
        return np.ascontiguousarray(self._session.run(None, {self._input.name: rows})[0])

    def whole(self, rows: np.ndarray) -> np.ndarray:
        """Both halves: the probability of fraud by row. Raises :class:`Broken`."""
        hidden = self.run(rows)
        body = self._ask("POST", f"/stage/{len(rows)}", hidden.astype(np.float32).tobytes())
        return np.frombuffer(body, np.float32).reshape(-1, 2)[:, 1:2]

    def is_whole(self) -> bool:
        """Whether the other half answers too."""
        try:
            self._ask("GET", "/health")
        except Broken:
            return False
        return True

    def _ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        parts = urlsplit(self._next)
        connection = http.client.HTTPConnection(parts.netloc, timeout=NEXT_TIMEOUT_S)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Broken(f"stage 1 does not answer: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise Broken(f"stage 1 answered {answer.status}")
        return said


def rows_of(body: bytes) -> np.ndarray:
    """The rows of an inference request. Raises :class:`Unfit`."""
    try:
        request = json.loads(body)
        (tensor,) = [item for item in request["inputs"] if item["name"] == "FEATURES"]
        rows = np.asarray(tensor["data"], np.float32).reshape(tensor["shape"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unfit(f"a JSON body with one input FEATURES is wanted: {error!r}") from error
    if rows.ndim != 2 or rows.shape[1] != FEATURES or not 1 <= len(rows) <= ROWS_MAX:
        raise Unfit(f"FEATURES is [1 to {ROWS_MAX}, {FEATURES}], not {list(rows.shape)}")
    return rows


class Handler(BaseHTTPRequestHandler):
    """Requests of clients (stage 0) and of the stage before (stage 1)."""

    protocol_version = "HTTP/1.1"
    stage: Stage
    is_first: bool

    def do_GET(self) -> None:
        """Health and metadata."""
        ready = {"/v2/health/ready", f"/v2/models/{MODEL}/ready"}
        if self.path == "/health" or (self.path in ready and self.stage.is_whole()):
            self._answer(200, b"")
        elif self.path in ready:
            self._say(503, {"error": "stage 1 does not answer"})
        elif self.path == "/v2":
            self._say(200, {"name": "sharded", "version": onnxruntime.__version__})
        else:
            self._say(404, {"error": f"there is no {self.path}"})

    def do_POST(self) -> None:
        """An inference, or the hidden layer of one."""
        length = int(self.headers.get("content-length") or 0)
        if length > BODY_BYTES_MAX:
            self.close_connection = True
            return self._say(413, {"error": f"at most {BODY_BYTES_MAX} bytes"})
        body = self.rfile.read(length)
        if not self.is_first and (rows_count := self.path.removeprefix("/stage/")).isdecimal():
            rows = np.frombuffer(body, np.float32).reshape(int(rows_count), -1)
            return self._answer(200, self.stage.run(rows).astype(np.float32).tobytes())
        if self.path != f"/v2/models/{MODEL}/infer" or not self.is_first:
            return self._say(404, {"error": f"there is no {self.path}"})
        try:
            found = self.stage.whole(rows_of(body))
        except Unfit as error:
            return self._say(400, {"error": str(error)})
        except Broken as error:
            return self._say(503, {"error": str(error)})
        output = {"name": "FRAUD_PROBABILITY", "datatype": "FP32", "shape": list(found.shape)}
        said: dict[str, Any] = {"model_name": MODEL, "model_version": "1"}
        said["outputs"] = [{**output, "data": found.ravel().tolist()}]
        return self._say(200, said)

    def _say(self, status: int, body: dict[str, Any]) -> None:
        self._answer(status, json.dumps(body).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line for each call is noise."""


class Server(ThreadingHTTPServer):
    """A thread a connection; those that are idle hold up no end."""

    daemon_threads = True
    request_queue_size = 128


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m workers.backends.sharded")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--stage", type=int, choices=(0, 1), required=True)
    parser.add_argument("--next", default="", help="of stage 0: where stage 1 is")
    given = parser.parse_args()
    if (given.stage == 0) != bool(given.next):
        parser.error("stage 0 needs --next URL, and only that one")
    Handler.stage, Handler.is_first = Stage(given.stage, given.next), given.stage == 0
    try:
        server = Server((HOST, given.port), Handler)
    except OSError as error:
        print(f"sharded: port {given.port} cannot be used: {error.strerror}", file=sys.stderr)
        return 1
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.sigwait(stop)
    server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
