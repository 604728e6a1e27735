"""``models``, ``run``, ``record``: calls that are answered at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from waypost.cli import show
from waypost.cli.app import Json, app, client
from waypost.client import Client
from waypost.shapes import ChatChunk, Route, Routing

Sort = Annotated[str | None, typer.Option(metavar="BY", help="price, latency or throughput.")]


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(metavar="MODEL")] = None, as_json: Json = False
) -> None:
    """List the models that you may call; with a name, who offers it."""
    with client() as waypost:
        if name is None:
            _models(waypost, as_json)
        else:
            _endpoints(waypost, name, as_json)


def _models(waypost: Client, as_json: bool) -> None:
    found = waypost.models.list()
    if as_json:
        show.as_json([model.raw for model in found])
        return
    rows = [
        (
            model.id,
            model.context_length,
            _per_million(model.pricing.get("prompt")),
            _per_million(model.pricing.get("completion")),
            _dollars(model.pricing.get("request")),
        )
        for model in found
    ]
    columns = ("model", "context", "$/1M in", "$/1M out", "$ a call or row")
    show.table(columns, rows, empty="No model is there for this key.")


def _endpoints(waypost: Client, name: str, as_json: bool) -> None:
    found = waypost.models.endpoints(name)
    if as_json:
        show.as_json(found)
        return
    rows = [
        (
            one.get("provider_name"),
            one.get("hardware"),
            one.get("quantization"),
            "up" if one.get("status") == 0 else "down",
            one.get("service_ms"),
            (one.get("latency_last_30m") or {}).get("p50"),
            one.get("uptime_last_1d"),
        )
        for one in found
    ]
    columns = ("provider", "hardware", "quantization", "status", "service ms", "p50 s", "uptime 1d")
    show.table(columns, rows, empty="Nobody offers it now.")


def _per_million(text: Any) -> float | None:
    return round(float(text) * 1e6, 6) if text and float(text) else None


def _dollars(text: Any) -> float | None:
    return float(text) if text and float(text) else None


@app.command()
def run(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="Or - to read it from stdin.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="A message of the system before it.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1)] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0)] = None,
    embed: Annotated[bool, typer.Option("--embed", help="The prompt's vector instead.")] = False,
    tensors: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Tensors instead of a prompt: lists by name."),
    ] = None,
    sort: Sort = None,
    only: Annotated[list[str], typer.Option(metavar="PROVIDER", help="May serve it.")] = [],
    deadline_ms: Annotated[int | None, typer.Option(min=1)] = None,
    priority: Annotated[
        str | None, typer.Option(metavar="P", help="interactive, standard or batch.")
    ] = None,
    fallback: Annotated[list[str], typer.Option(metavar="MODEL", help="Tried next.")] = [],
    explain: Annotated[bool, typer.Option("--explain", help="And why it went there.")] = False,
    as_json: Json = False,
) -> None:
    """Call a model: print its answer as it is written, then what it cost."""
    wishes = Routing(
        sort=sort,  # type: ignore[arg-type]  # The API checks it, and says what there is.
        only=only or None,
        deadline_ms=deadline_ms,
        priority=priority,  # type: ignore[arg-type]
    )
    with client() as waypost:
        if tensors is not None:
            _infer(waypost, model, tensors, priority, as_json)
            return
        text = sys.stdin.read() if prompt in {None, "-"} else str(prompt)
        if embed:
            vectors = waypost.embed(model, text, routing=wishes, fallbacks=fallback)
            show.as_json(vectors.raw if as_json else list(vectors.vectors[0]))
            return
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": text})
        asked: dict[str, Any] = {
            "max_tokens": max_tokens,
            "temperature": temperature,
            "routing": wishes,
            "fallbacks": fallback,
            "explain": explain,
        }
        if as_json:
            show.as_json(waypost.chat(model, messages, **asked).raw)
        else:
            _chat(waypost, model, messages, asked)


def _chat(waypost: Client, model: str, messages: Any, asked: dict[str, Any]) -> None:
    last: ChatChunk | None = None
    usage = None
    explained = None
    with waypost.chat_stream(model, messages, **asked) as chunks:
        for chunk in chunks:
            sys.stdout.write(chunk.text)
            sys.stdout.flush()
            usage = chunk.usage or usage
            explained = chunk.route.explained or explained
            last = chunk
    sys.stdout.write("\n")
    if last is not None:
        words = [f"{usage.prompt_tokens} + {usage.completion_tokens} tokens"] if usage else []
        show.aside.print(" · ".join([*words, *_where(last.route)]), style="dim", markup=False)
    if explained is not None:
        _explained(explained)


def _infer(waypost: Client, model: str, path: Path, priority: str | None, as_json: bool) -> None:
    try:
        inputs = json.loads(path.read_text())
        if not isinstance(inputs, dict):
            raise ValueError("an object of tensors by name is wanted")  # noqa: TRY004
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path}: {error}", param_hint="--tensors") from error
    found = waypost.infer(model, inputs, priority=priority)  # type: ignore[arg-type]
    values = {name: tensor.nested() for name, tensor in found.outputs.items()}
    show.as_json(values)
    if not as_json:
        show.aside.print(" · ".join(_where(found.route)), style="dim", markup=False)


def _where(route: Route) -> list[str]:
    words = [route.pool and f"{route.pool}{' (emulated)' if route.is_emulated else ''}"]
    words.append(show.usd(route.cost_nano_usd) or "")
    words.append(route.request_id and f"request {route.request_id}")
    return [word for word in words if word]


def _explained(route: Any) -> None:
    show.facts(
        {
            "pool": route.get("pool"),
            "hardware": route.get("hardware"),
            "queue ms": route.get("queue_ms"),
            "first token ms": route.get("ttft_ms"),
            "total ms": route.get("total_ms"),
            "cost": show.usd(route.get("cost_nano_usd")),
        }
    )
    candidates = route.get("candidates") or ()
    columns = ("candidate", "verdict", "wait ms", "service ms", "score")
    rows = [
        (
            one.get("pool"),
            one.get("verdict"),
            one.get("wait_ms"),
            one.get("service_ms"),
            one.get("score"),
        )
        for one in candidates
    ]
    show.table(columns, rows, empty="No candidates are recorded.")


@app.command()
def record(request_id: str, as_json: Json = False) -> None:
    """What happened to a call: its tokens, cost, times, and why it went where it went."""
    with client() as waypost:
        found = waypost.record(request_id)
    if as_json:
        show.as_json(found)
        return
    plain = (str, int, float, bool)
    show.facts({name: value for name, value in found.items() if isinstance(value, plain)})
    decision = found.get("decision")
    candidates = decision.get("candidates") if isinstance(decision, dict) else decision
    rows = [
        (
            one.get("pool"),
            one.get("verdict"),
            one.get("wait_ms"),
            one.get("service_ms"),
            one.get("score"),
        )
        for one in candidates or ()
    ]
    columns = ("candidate", "verdict", "wait ms", "service ms", "score")
    show.table(columns, rows, empty="No candidates are recorded.")
