"""The app of `ell-otel demo`: answers a shop's mail with three language-model programs that call each other."""

import sys
from concurrent.futures import ThreadPoolExecutor

import openai
from style import SIGNATURE, tone

import ell_otel as ell

MODEL = "gpt-4o-mini"

MAILS = [
    "You charged me twice this month.",
    "The export button does nothing since Tuesday.",
    "I love the new search. Thank you!",
    "Where can I find last year's invoices?",
    "The app crashes when my name has an umlaut.",
]


@ell.simple(model=MODEL, temperature=0)
def classify(mail: str):
    """You sort customer mail. Answer with one word: billing, bug or praise."""
    return f"Which kind of mail is this?\n\n{mail}"


@ell.simple(model="gpt-4o", temperature=0.7)
def draft(mail: str, kind: str):
    """You write replies for a small software shop."""
    return f"Reply to this mail {tone(kind)}.\n\n{mail}"


@ell.program
def answer(mail: str) -> str:
    reply = draft(mail, classify(mail))
    ell.score("concise", 1.0 if len(reply) < 120 else 0.0, of=reply)
    return reply + SIGNATURE


if __name__ == "__main__":
    ell.init(client=openai.OpenAI())
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(answer, (MAILS[i % len(MAILS)] for i in range(count))))
    print(f"{len(answers)} mails answered")
