"""OpenAI's Agents SDK, run beside the repository: see ``tests.clients``."""

import asyncio
import sys

from agents import (
    Agent,
    OpenAIResponsesModel,
    Runner,
    SQLiteSession,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel


@function_tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


class Report(BaseModel):
    city: str
    degrees: int


async def main(base_url: str, key: str, model_name: str) -> None:
    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0)
    model = OpenAIResponsesModel(model=model_name, openai_client=client)

    plain = Agent(name="plain", instructions="Be brief.", model=model)
    assert (await Runner.run(plain, "hi")).final_output
    print("run")

    able = Agent(name="able", model=model, tools=[weather])
    result = await Runner.run(able, "The weather?")
    assert [item.type for item in result.new_items].count("tool_call_output_item") == 1
    assert "sunny" in result.final_output
    print("tools")

    streamed = Runner.run_streamed(able, "The weather?")
    types = [
        event.data.type
        async for event in streamed.stream_events()
        if event.type == "raw_response_event"
    ]
    assert "response.function_call_arguments.done" in types
    assert types.count("response.completed") == 2
    print("streamed with tools")

    front = Agent(name="front", model=model, handoffs=[plain])
    assert (await Runner.run(front, "hi")).last_agent.name == "plain"
    print("handoff")

    typed = Agent(name="typed", model=model, output_type=Report)
    assert isinstance((await Runner.run(typed, "hi")).final_output, Report)
    print("structured output")

    session = SQLiteSession("s")
    await Runner.run(plain, "one", session=session)
    assert "4 messages" in (await Runner.run(plain, "two", session=session)).final_output
    print("session")

    first = await Runner.run(plain, "one")
    again = await Runner.run(plain, "two", previous_response_id=first.last_response_id)
    assert "4 messages" in again.final_output
    print("previous_response_id")


asyncio.run(main(*sys.argv[1:]))
