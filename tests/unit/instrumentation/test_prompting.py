"""``@ell.simple``, ``@ell.complex`` and ``@ell.tool`` through the real OpenAI SDK, against a model on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest

import ell_otel as ell
from ell_otel.testing import FakeModel, recorded


@pytest.fixture
def model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModel]:
    with FakeModel() as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "not-needed")
        ell.init(client=fake.client())
        yield fake


def test_simple_sends_docstring_and_result_and_returns_the_text(model: FakeModel) -> None:
    @ell.simple(model="gpt-4o-mini", temperature=0.5)
    def greet(name: str):
        """You are friendly."""
        return f"Greet {name}"

    answer = greet("Ada")
    assert isinstance(answer, str)
    assert model.requests == [
        {
            "model": "gpt-4o-mini",
            "temperature": 0.5,
            "messages": [{"role": "system", "content": "You are friendly."}, {"role": "user", "content": "Greet Ada"}],
        }
    ]


def test_without_a_docstring_there_is_no_system_message(model: FakeModel) -> None:
    @ell.simple(model="m")
    def ask():
        return "why"

    ask()
    assert [message["role"] for message in model.requests[0]["messages"]] == ["user"]


def test_simple_with_n_returns_as_many_texts(model: FakeModel) -> None:
    @ell.simple(model="m", n=3)
    def ask():
        return "why"

    answers = ask()
    assert len(answers) == 3
    assert all(isinstance(answer, str) for answer in answers)


def test_async_programs_work_in_one_loop_after_another(model: FakeModel) -> None:
    @ell.simple(model="m")
    async def ask(word: str):
        return word

    async def several() -> list[str]:
        return await asyncio.gather(ask("a"), ask("b"))

    assert len(asyncio.run(several())) == 2
    assert isinstance(asyncio.run(ask("c")), str)


def test_a_result_that_is_no_text_is_an_error_that_names_program_and_remedy(model: FakeModel) -> None:
    @ell.simple(model="m")
    def ask() -> Any:
        return 42

    with pytest.raises(TypeError, match=r"ask returned int; .* use @ell.complex"):
        ask()


def test_messages_that_are_none_are_an_error_that_says_what_is_taken(model: FakeModel) -> None:
    @ell.complex(model="m")
    def ask() -> Any:
        return [{"content": "no role"}]

    with pytest.raises(TypeError, match=r"ell.user"):
        ask()


def test_an_unreachable_model_raises_what_the_sdk_raises(folder: Path) -> None:
    client = openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="x", max_retries=0)

    @ell.simple(model="m", client=client)
    def ask():
        return "anyone?"

    with pytest.raises(openai.APIConnectionError):
        ask()
    statuses = {span.name.split()[0]: span.status for span in recorded(folder).spans}
    assert statuses == {"chat": "error", "invoke_workflow": "error"}


def test_complex_runs_tools_and_goes_on(model: FakeModel, folder: Path) -> None:
    @ell.tool
    def weather(city: str, days: int = 1) -> dict[str, Any]:
        """The weather of a city."""
        return {"city": city, "days": days, "sky": "clear"}

    @ell.complex(model="m", tools=[weather])
    def ask(history: list[ell.Message]):
        return [ell.system("Use tools."), ell.user("Weather in Paris?"), *history]

    @ell.program
    def converse() -> str:
        first = ask([])
        second = ask([first, *first.call_tools()])
        return second.text

    assert converse()
    offered = model.requests[0]["tools"][0]["function"]
    assert (offered["name"], offered["description"]) == ("weather", "The weather of a city.")
    assert offered["parameters"]["required"] == ["city"]
    assert json.loads(model.requests[1]["messages"][-1]["content"]) == {"city": "Paris", "days": 1, "sky": "clear"}
    tool = recorded(folder).span("execute_tool weather")
    assert json.loads(tool.attributes["gen_ai.tool.call.arguments"]) == {"city": "Paris", "days": 1}
    assert tool.attributes["ell.program.name"].endswith("converse")


def test_a_tool_that_the_model_made_up_is_an_error_that_says_so(folder: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "fly", "arguments": "{}"}}
    with FakeModel(lambda request: {"content": None, "tool_calls": [call]}) as fake:

        @ell.complex(model="m", client=fake.client())
        def ask():
            return "go"

        with pytest.raises(LookupError, match="'fly'"):
            ask().call_tools()


def test_async_tools_are_awaited(model: FakeModel) -> None:
    @ell.tool
    async def weather(city: str) -> str:
        await asyncio.sleep(0)
        return f"clear in {city}"

    @ell.complex(model="m", tools=[weather])
    async def ask():
        return "Weather?"

    async def main() -> list[ell.Message]:
        return await (await ask()).call_tools_async()

    (answer,) = asyncio.run(main())
    assert answer.text == "clear in Paris"


class City(pydantic.BaseModel):
    name: str
    people: int


def test_a_pydantic_response_format_gives_a_parsed_answer(model: FakeModel) -> None:
    @ell.complex(model="m", response_format=City)
    def ask():
        return "Which city?"

    assert ask().parsed == City(name="Paris", people=7)


def test_streaming_yields_pieces_and_records_the_whole_with_its_usage(model: FakeModel, folder: Path) -> None:
    @ell.complex(model="m", stream=True)
    def ask():
        return "Tell me."

    pieces = list(ask())
    assert len(pieces) > 1
    recording = recorded(folder)
    invocation = next(span for span in recording.spans if span.name.startswith("invoke_workflow"))
    assert json.loads(invocation.attributes["ell.invocation.result"]) == "".join(pieces)
    assert recording.span("chat m").attributes["gen_ai.usage.output_tokens"] > 0


def test_async_streaming_yields_the_same_pieces(model: FakeModel) -> None:
    @ell.complex(model="m", stream=True)
    def ask():
        return "Tell me."

    @ell.complex(model="m", stream=True)
    async def ask_async():
        return "Tell me."

    async def collect() -> list[str]:
        return [piece async for piece in ask_async()]

    assert asyncio.run(collect()) == list(ask())


def test_with_n_complex_returns_as_many_messages(model: FakeModel) -> None:
    @ell.complex(model="m", n=2)
    def ask():
        return "Tell me."

    assert [message.role for message in ask()] == ["assistant", "assistant"]


def test_a_client_of_the_wrong_kind_is_refused_when_decorating(model: FakeModel) -> None:
    with pytest.raises(TypeError, match="give it an OpenAI client"):

        @ell.simple(model="m", client=model.async_client())
        def ask():
            return "x"


def test_forgetting_the_model_is_an_error_that_shows_the_right_form() -> None:
    with pytest.raises(TypeError, match="@ell.simple\\(model="):

        @ell.simple  # type: ignore[arg-type]
        def ask():
            return "x"


def test_a_score_goes_to_the_invocation_that_made_the_result(model: FakeModel, folder: Path) -> None:
    @ell.simple(model="m")
    def ask():
        return "x"

    answer = ask()
    ell.score("useful", 0.5, of=answer, explanation="middling")
    recording = recorded(folder)
    (event,) = [event for event in recording.events if event.name == "gen_ai.evaluation.result"]
    invocation = next(span for span in recording.spans if span.name.startswith("invoke_workflow"))
    assert (event.span_id, event.trace_id) == (invocation.span_id, invocation.trace_id)
    assert event.attributes["gen_ai.evaluation.score.value"] == 0.5
    assert event.attributes["ell.invocation.id"] == invocation.attributes["ell.invocation.id"]


def test_a_score_inside_a_program_goes_to_that_program(folder: Path) -> None:
    @ell.program
    def work() -> None:
        ell.score("fine", label="yes")

    work()
    recording = recorded(folder)
    (event,) = [event for event in recording.events if event.name == "gen_ai.evaluation.result"]
    assert event.span_id == recording.spans[0].span_id
    assert event.attributes["gen_ai.evaluation.score.label"] == "yes"


def test_a_score_that_says_nothing_is_refused_and_one_of_nothing_known_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="a value, a label or both"):
        ell.score("empty")
    with pytest.raises(TypeError, match="label="):
        ell.score("wordy", "good")  # type: ignore[arg-type]
    ell.score("lost", 1.0, of="a text that nothing returned")
    assert "'lost' was dropped" in caplog.text


def test_each_of_several_answers_and_what_was_parsed_can_be_scored(model: FakeModel, folder: Path) -> None:
    @ell.complex(model="m", n=2, response_format=City)
    def ask():
        return "Which cities?"

    first, second = ask()
    ell.score("first", 1.0, of=first)
    ell.score("parsed", 1.0, of=second.parsed)
    scores = [event for event in recorded(folder).events if event.name == "gen_ai.evaluation.result"]
    assert len({score.attributes["ell.invocation.id"] for score in scores}) == 1
    assert len(scores) == 2
