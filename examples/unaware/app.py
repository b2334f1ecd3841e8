"""An assistant for travellers that has never heard of ell-otel: plain functions around OpenAI's own client."""

import asyncio
import json

import openai
from prompts import briefly, guide

MODEL = "gpt-4o-mini"
OPENING_HOURS = {"museum": "10 to 18", "market": "7 to 13"}
TOOL = {
    "type": "function",
    "function": {
        "name": "opening_hours",
        "description": "When a place is open.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string", "enum": list(OPENING_HOURS)}}},
    },
}


def suggest(client: openai.OpenAI, city: str) -> str:
    answer = client.chat.completions.create(model=MODEL, messages=guide(f"What should I see in {city}?"))
    return answer.choices[0].message.content


def tell(client: openai.OpenAI, city: str) -> str:
    """The same as a stream, word by word."""
    messages = guide(f"Tell me the story of {city}.")
    with client.chat.completions.create(
        model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
    ) as chunks:
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def when(client: openai.OpenAI, place: str) -> str:
    """With a tool: the model asks for the opening hours, and answers once it has them."""
    messages = guide(f"When is the {place} open?")
    first = client.chat.completions.create(model=MODEL, messages=messages, tools=[TOOL]).choices[0].message
    messages.append(first.to_dict())
    for call in first.tool_calls or []:
        hours = OPENING_HOURS.get(json.loads(call.function.arguments).get("place"), "closed")
        messages.append({"role": "tool", "tool_call_id": call.id, "content": hours})
    return client.chat.completions.create(model=MODEL, messages=messages, tools=[TOOL]).choices[0].message.content


async def translate(client: openai.AsyncOpenAI, text: str, languages: list[str]) -> list[str]:
    """Several requests at once."""
    answers = await asyncio.gather(
        *[
            client.chat.completions.create(model=MODEL, messages=guide(briefly(f"Say {text!r} in {language}.")))
            for language in languages
        ]
    )
    return [answer.choices[0].message.content for answer in answers]


async def translations() -> list[str]:
    async with openai.AsyncOpenAI() as client:
        return await translate(client, "Good morning", ["French", "Basque"])


if __name__ == "__main__":
    with openai.OpenAI() as client:
        print(suggest(client, "Lyon"))
        print(tell(client, "Lyon"))
        print(when(client, "museum"))
    print(*asyncio.run(translations()), sep="\n")
