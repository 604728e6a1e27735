"""``python -m workers.backends.triton --profile batched …``: prepare a repository, become Triton.

The server binary comes from the ``nvidia-pytriton`` wheel. This process is replaced by it, so the
pid that a launcher sees is the server's.
"""

import argparse
import os
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from workers.backends.libraries import BROUGHT
from workers.backends.triton.repository import PROFILES, write_repository
from workers.backends.weights import WeightsMissing

HOST = "127.0.0.1"
UNAVAILABLE = 3
"""Exit status when this Python lacks what Triton's Python backend needs of it."""

MENDED = """
import sys
import numpy2
numpy2.install(sys.modules[__name__])
"""


def main() -> int:
    """Does not return when all is well."""
    arguments = _parser().parse_args()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    server = triton_folder()
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        print(f"Triton: it has nothing for Python {version}", file=sys.stderr)
        return UNAVAILABLE
    libpython = shared_libpython(version)
    if libpython is None:
        print(
            f"Triton: this Python has no shared libpython{version}; run `make setup`, or on Debian "
            f"and Ubuntu: apt-get install libpython{version}",
            file=sys.stderr,
        )
        return UNAVAILABLE
    packages = server.parents[1]
    carried = packages / "nvidia_pytriton.libs"
    given: Path | None = arguments.repository and arguments.repository.resolve()
    models = Path("models" if given is None else "repository")
    try:
        arguments.home.mkdir(parents=True, exist_ok=True)
        # The server starts a model's process by an unquoted line of a shell. From within the folder
        # its paths are these words, whatever the folder is called.
        os.chdir(arguments.home)
        if given is None:
            write_repository(models, PROFILES[arguments.profile])
        else:
            models.unlink(missing_ok=True)
            models.symlink_to(given)
        backends = prepare_backends(server, Path("backends"), stub)
        libraries = link_libpython(libpython, carried, Path("libraries"))
    except (OSError, WeightsMissing) as error:
        print(f"Triton: {error}", file=sys.stderr)
        return 1
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": f"{libraries}:{carried}",
        "PYTHONPATH": str(packages),
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
    }
    binary = server / "bin" / "tritonserver"
    os.execve(binary, [str(binary), *server_arguments(arguments, models, backends)], environment)


def server_arguments(arguments: argparse.Namespace, models: Path, backends: Path) -> list[str]:
    """The server's command line; it listens on the loopback interface only."""
    return [
        f"--model-repository={models}",
        f"--backend-directory={backends}",
        f"--http-address={HOST}",
        f"--http-port={arguments.http_port}",
        f"--grpc-address={HOST}",
        f"--grpc-port={arguments.grpc_port}",
        f"--metrics-address={HOST}",
        f"--metrics-port={arguments.metrics_port}",
        "--metrics-config=summary_latencies=true",
        f"--backend-config=python,shm-region-prefix-name=waypost-{os.getpid()}",
        "--log-verbose=0",
    ]


def shared_libpython(version: str) -> Path | None:
    """The shared library of this interpreter; None when there is none."""
    folder = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    name = f"libpython{version}.so.1.0"
    places = (folder / name, folder / multiarch / name, BROUGHT / name)
    return next((place for place in places if place.exists()), None)


def link_libpython(library: Path, carried: Path, folder: Path) -> Path:
    """A folder with the interpreter's library under every name that a stub may look for.

    The stubs of some versions look for one that the wheel carries, whose built-in modules are not
    those of this interpreter.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in (library.name, *(path.name for path in carried.glob("libpython*"))):
        (folder / name).symlink_to(library)
    return folder


def triton_folder() -> Path:
    """Where the wheel put the server, found without importing the package."""
    spec = find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise SystemExit("Triton: nvidia-pytriton is not installed; run `make setup`")
    return Path(spec.origin).parent / "tritonserver"


def prepare_backends(server: Path, folder: Path, stub: Path) -> Path:
    """A copy of the Python backend with the stub of this Python version, mended for NumPy 2."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(server / "backends" / "python", folder / "python")
    own_stub = Path(shutil.copy(stub, folder / "python"))
    own_stub.chmod(0o755)
    shutil.copy(Path(__file__).with_name("numpy2.py"), folder / "python")
    with (folder / "python" / "triton_python_backend_utils.py").open("a") as utils:
        utils.write(MENDED)
    return folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.backends.triton")
    served = parser.add_mutually_exclusive_group(required=True)
    served.add_argument("--profile", choices=sorted(PROFILES), help="of the demo's models")
    served.add_argument("--repository", type=Path, help="of models of your own, to serve instead")
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--metrics-port", type=int, required=True)
    parser.add_argument("--home", type=Path, required=True, help="for the repository; is replaced")
    return parser


if __name__ == "__main__":
    sys.exit(main())
