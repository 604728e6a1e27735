"""Waypost's data plane: takes a request, finds the worker that completes it first, meters it."""

import os

from router.build import package_folder

__path__ = [str(package_folder(os.environ.get("ROUTER_BUILD", "plain")))]
