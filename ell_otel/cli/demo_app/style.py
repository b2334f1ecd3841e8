"""How the shop writes. The demo edits this file."""

SIGNATURE = "\n\nYours, the shop"
GREETING_CARD = "Season's greetings!"  # used by nothing: a change here is no new version


def tone(kind: str) -> str:
    """How to reply to a kind of mail."""
    if kind == "praise":
        return "warmly"
    return "at length, with an apology and an explanation"
