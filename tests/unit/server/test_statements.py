"""What a reader may ask, judged on tokens. How the engine cuts them, and what it refuses, is tested over HTTP."""

from __future__ import annotations

import pytest

from ell_otel.server.statements import Token, meaningful, output_format, refusal, returns_rows

FUNCTIONS = frozenset({"url", "file", "numbers", "format", "brandnew"})


def tokens(sql: str) -> list[Token]:
    """Tokens of simple SQL with blanks between all of them; quoted names and brackets are told by their looks."""
    kinds = {"(": "OpeningRoundBracket", ")": "ClosingRoundBracket", ";": "Semicolon", ",": "Comma"}
    made = []
    for text in sql.split(" "):
        kind = kinds.get(text) or ("QuotedIdentifier" if text[0] in '`"“' else "BareWord")
        made.append(Token("StringLiteral" if text[0] == "'" else kind, text, 0))
    return meaningful(made)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "( select 1 )",
        "WITH 1 AS x SELECT x",
        "SHOW TABLES",
        "DESCRIBE t",
        "explain select 1",
        "select url from numbers ( 3 )",
        "select format ( x )",
        "select 'file'",
        "select 1 ;",
    ],
)
def test_questions_about_the_tables_pass(sql: str) -> None:
    assert refusal(tokens(sql), FUNCTIONS) == ""


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT x",
        "( drop x )",
        "set x",
        "system x",
        "kill x",
        ";",
        "select 1 ; select 2",
        "select file ( x )",
        "select `file` ( x )",
        "select “FILE” ( x )",
        "select arrayMap ( file , x )",
        "select x into outfile 'y'",
        "select x from url ( y )",
        'describe "url" ( y )',
        "select x from brandnew ( y )",
        "select `fi\\x6ce` ( y )",
    ],
)
def test_what_reaches_outside_the_tables_is_refused_with_a_reason(sql: str) -> None:
    assert refusal(tokens(sql), FUNCTIONS)


def test_the_last_format_clause_is_the_one_that_counts() -> None:
    assert output_format(tokens("select format ( 1 ) FORMAT JSON"), "TSV") == "JSON"
    assert output_format(tokens("select 1"), "TSV") == "TSV"


def test_only_questions_have_rows() -> None:
    assert returns_rows(tokens("( select 1 )"))
    assert not returns_rows(tokens("create x"))
    assert not returns_rows([])
