"""What a person needs once everything runs."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from deploy.local.home import state
from deploy.local.home.environment import default_home
from deploy.local.home.state import Condition
from deploy.local.launching.launch import demo_access
from deploy.local.processes.ports import HOST
from deploy.local.services.stack import Options

FIRST_CALL = {
    "model": "huggingfacetb/smollm2-135m-instruct",
    "messages": [{"role": "user", "content": "Name three colours."}],
    "max_tokens": 64,
}


def banner(options: Options, *, detached: bool) -> str:
    """The URLs, the demo login and key, a call to paste, what is missing, and how to stop."""
    demo = demo_access(options.home)
    home = "" if options.home == default_home() else f" --home {shlex.quote(str(options.home))}"
    command = f"{shlex.quote(str(near(Path(sys.executable))))} manage.py"
    stop = f"{command} down{home}" if detached else "Ctrl-C"
    lines = ["", f"  Pages    {options.web_url}/", f"  Router   {options.router_url}/v1"]
    lines += [f"  gRPC     {HOST}:{options.router_grpc_port}"]
    if demo:
        lines += [
            f"  Login    {demo['email']}  {demo['password']}",
            f"  Key      {demo['api_key']}",
            f"  Another  {command} keys create --org demo{home}",
            "",
            first_call(options.router_url, demo["api_key"]),
        ]
    running = state.load(options.home)
    for service in running.services if running else ():
        if service.condition is Condition.UNAVAILABLE:
            lines += ["", f"  Without {service.name}: {service.reason or 'it cannot run here'}"]
    logs = near(options.home / "logs")
    return "\n".join([*lines, "", f"  Logs     {logs}/", f"  Stop     {stop}", ""])


def near(path: Path) -> Path:
    """Shorten a path below the working folder; leave any other absolute."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def first_call(router_url: str, api_key: str) -> str:
    """One line for a shell: a chat with the real model."""
    return (
        f"  curl {router_url}/v1/chat/completions"
        f" -H 'Authorization: Bearer {api_key}' -H 'Content-Type: application/json'"
        f" -d '{json.dumps(FIRST_CALL)}'"
    )
