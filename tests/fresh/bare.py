"""A bare Debian in a folder: what debootstrap makes, and a clone of this checkout's HEAD."""

import contextlib
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = "python3,make,git,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Bare:
    """A root file system, and the user whose home folder has the clone."""

    folder: Path
    user: str

    @property
    def home(self) -> Path:
        """The user's home folder, as seen inside."""
        return Path("/root") if self.user == "root" else Path("/home") / self.user

    @property
    def clone(self) -> Path:
        """The clone, as seen from outside."""
        return self.folder / self.home.relative_to("/") / "waypost"

    def start(self, command: str, log: IO[str]) -> subprocess.Popen[str]:
        """Start a shell command in the clone.

        It has its own process ids and mounts: when it ends or is killed, so does all that it
        started, and no mount was ever visible outside.
        """
        environment = {
            "HOME": str(self.home),
            "PATH": PATH,
            "TERM": "dumb",
            "SSL_CERT_FILE": str(CERTIFICATES),
            "NODE_EXTRA_CA_CERTS": str(CERTIFICATES),
        }
        words = [f"{name}={value}" for name, value in environment.items()]
        inside = f"cd {self.home}/waypost && {command}"
        chroot = [
            "chroot",
            f"--userspec={self.user}:{self.user}",
            str(self.folder),
            "env",
            "-i",
            *words,
        ]
        root = shlex.quote(str(self.folder))
        steps = (
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
            f"mount -t tmpfs -o mode=1777 tmpfs {root}/dev/shm",
            shlex.join([*chroot, "bash", "-c", inside]),
        )
        script = " && ".join(steps)
        return subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


@contextlib.contextmanager
def bare(suite: str, user: str) -> Iterator[Bare]:
    """Make a root with the clone, and remove it. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory(prefix=f"waypost-{suite}-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        _quiet("debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(folder))
        # This machine's way to the network.
        for path in (CERTIFICATES, Path("/etc/resolv.conf"), Path("/etc/hosts")):
            shutil.copy(path, folder / path.relative_to("/"))
        settings = _quiet("apt-config", "dump").splitlines()
        ours = [line for line in settings if line.startswith(("Acquire::http", "Acquire::Check"))]
        (folder / "etc/apt/apt.conf.d/network").write_text("\n".join(ours) + "\n")
        if user != "root":
            _quiet("chroot", str(folder), "useradd", "--create-home", user)
        root = Bare(folder, user)
        _quiet("git", "clone", "--no-hardlinks", str(CHECKOUT), str(root.clone))
        _quiet("chroot", str(folder), "chown", "-R", f"{user}:{user}", f"{root.home}/waypost")
        yield root


def _quiet(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
