"""The README's eight lines. Run it, change TONE, run it again, then: ell-otel log explain"""

import sys

import ell_otel as ell

TONE = "in one sentence"


@ell.simple(model="gpt-4o-mini")
def explain(topic: str):
    """You explain things to engineers."""
    return f"Explain {topic} {TONE}."


if __name__ == "__main__":
    print(explain(" ".join(sys.argv[1:]) or "back-pressure"))
