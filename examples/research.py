"""Tools, structured output and a score, in programs that call each other."""

import pydantic

import ell_otel as ell

POPULATION = {"Paris": 2_100_000, "Lyon": 520_000}


class City(pydantic.BaseModel):
    name: str
    country: str


@ell.tool
def population(city: str) -> int:
    """How many people live in a city."""
    return POPULATION.get(city, 0)


@ell.complex(model="gpt-4o-mini", response_format=City)
def which_city(question: str):
    """You name the city that a question is about."""
    return question


@ell.complex(model="gpt-4o-mini", tools=[population])
def discuss(question: str, history: list[ell.Message]):
    return [ell.system("Answer from what the tools say."), ell.user(question), *history]


@ell.program
def answer(question: str) -> str:
    """Ask, run what tools the model wants, ask again."""
    city = which_city(question).parsed
    first = discuss(question, [])
    last = discuss(question, [first, *first.call_tools()]) if first.tool_calls else first
    ell.score("names the city", 1.0 if city and city.name in last.text else 0.0)
    return last.text


if __name__ == "__main__":
    print(answer("How many people live in Paris?"))
