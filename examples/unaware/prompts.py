"""What the assistant is told, whoever asks."""

TONE = "You are a guide who knows every corner, and is never in a hurry."


def guide(question: str) -> list[dict]:
    return [{"role": "system", "content": TONE}, {"role": "user", "content": question}]


def briefly(question: str) -> str:
    return f"{question} The answer only."
