"""``python -m tests.architecture.cli_reference``: write the reference of the commands."""

import os
import re

import typer

from tests.architecture.pages import REFERENCE

PAGE = REFERENCE / "cli.md"
HEAD = """# The command line `waypost`

[How to begin](../how-to/use-the-python-sdk.md#the-command-line). `--json` prints the API's own
answer to stdout; progress and costs go to stderr. This page is written by
`python -m tests.architecture.cli_reference`.

## Exit status

| Status | When |
|---|---|
| 0 | All is well. |
| 1 | Not all was answered: of a batch, a prediction, a benchmark, advice. |
{statuses}
| 130 | Ctrl-C. A batch or a prediction goes on; the last line says how to follow it. |

"""


def reference() -> str:
    """The page."""
    # As wide on every machine.
    os.environ["TERMINAL_WIDTH"] = "100"
    from typer.cli import get_docs_for_click
    from waypost.cli.exits import STATUSES
    from waypost.cli.main import app

    told: dict[int, list[str]] = {2: ["Wrong words or options."]}
    for _, status, meaning in STATUSES:
        told.setdefault(status, []).append(meaning)
    statuses = "\n".join(f"| {status} | {' '.join(told[status])} |" for status in sorted(told))
    command = typer.main.get_command(app)
    context = type(command).context_class(command, info_name="waypost")
    text = get_docs_for_click(obj=command, ctx=context, name="waypost", title="Commands")
    # One title a page: the commands' own begin a level lower.
    text = re.sub(r"^(#+ )", r"#\1", text, flags=re.MULTILINE)
    text = text.replace("```console", "```text")
    return HEAD.format(statuses=statuses) + text.rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(reference())
