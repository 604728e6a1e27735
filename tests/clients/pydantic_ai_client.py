"""pydantic-ai, run beside the repository: see ``tests.clients``."""

import asyncio
import sys

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


class Report(BaseModel):
    city: str
    degrees: int


async def main(base_url: str, key: str, model_name: str) -> None:
    model = OpenAIResponsesModel(
        model_name, provider=OpenAIProvider(base_url=base_url, api_key=key)
    )

    plain = Agent(model, instructions="Be brief.")
    first = await plain.run("hi")
    assert first.output
    assert first.usage.output_tokens
    print("run")

    able = Agent(model)

    @able.tool_plain
    def weather(city: str) -> str:
        """The weather of a city."""
        return f"sun in {city}"

    assert "sunny" in (await able.run("The weather?")).output
    print("tools")

    async with plain.run_stream("hi") as stream:
        heard = [text async for text in stream.stream_text(delta=True, debounce_by=None)]
    assert len(heard) > 1
    print("streamed")

    assert isinstance((await Agent(model, output_type=Report).run("hi")).output, Report)
    print("structured output")

    again = await plain.run("and now?", message_history=first.all_messages())
    assert "4 messages" in again.output
    print("history")


asyncio.run(main(*sys.argv[1:]))
