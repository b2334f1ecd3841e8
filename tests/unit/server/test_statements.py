"""What a reader may ask, judged on tokens. How the engine cuts them, and what it refuses, is tested over HTTP."""

from __future__ import annotations

import pytest

from ell_otel.server.insertion import insertion
from ell_otel.server.statements import (
    Token,
    meaningful,
    output_format,
    refusal,
    returns_rows,
    set_settings,
    used_database,
)

FUNCTIONS = frozenset({"url", "file", "numbers", "format", "brandnew"})


def tokens(sql: str) -> list[Token]:
    """Tokens of simple SQL with blanks between all of them; quoted names and brackets are told by their looks."""
    kinds = {
        "(": "OpeningRoundBracket",
        ")": "ClosingRoundBracket",
        ";": "Semicolon",
        ",": "Comma",
        "=": "Equals",
        ".": "Dot",
    }
    made = []
    for text in sql.split(" "):
        kind = kinds.get(text) or (
            "QuotedIdentifier" if text[0] in '`"“' else "Number" if text.isdigit() else "BareWord"
        )
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


@pytest.mark.parametrize(
    ("sql", "written", "form"),
    [
        ("insert into t format CSV", "INSERT INTO `t`", "CSV"),
        (
            "INSERT INTO TABLE db . t ( a , `b-c` , Events . Name ) VALUES",
            "INSERT INTO `db`.`t` (`a`, `b-c`, `Events.Name`)",
            "Values",
        ),
        (
            "INSERT INTO \"t\" ( a ) SETTINGS async_insert = 1 , x = 'y' FORMAT Native",
            "INSERT INTO `t` (`a`)",
            "Native",
        ),
    ],
)
def test_an_insert_of_data_is_written_anew_from_its_names(sql: str, written: str, form: str) -> None:
    found = insertion(tokens(sql))
    assert found
    assert (found.sql, found.format) == (written, form)


def test_an_inserts_settings_are_told_apart_from_it() -> None:
    found = insertion(tokens("INSERT INTO t SETTINGS a = 1 , b = 'c' FORMAT CSV"))
    assert found
    assert found.settings == {"a": "1", "b": "c"}


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t SELECT 1",
        "INSERT INTO t ( a ) select 1 FORMAT CSV",
        "INSERT INTO FUNCTION file ( 'x' ) FORMAT CSV",
        "INSERT INTO t ( f ( a ) ) VALUES",
        "INSERT INTO t ( a b ) VALUES",
        "INSERT INTO `t\\x60` VALUES",
        "INSERT INTO t SETTINGS a = f ( 1 ) FORMAT CSV",
        "INSERT INTO t SETTINGS a = 1 , FORMAT CSV",
        "INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        "INSERT INTO t",
        "INSERT INTO",
        "INSERT",
        "WITH 1 AS x INSERT INTO t VALUES",
    ],
)
def test_another_insert_is_none_of_data(sql: str) -> None:
    assert insertion(tokens(sql)) is None


def test_set_and_use_are_read_when_they_are_plain() -> None:
    assert set_settings(tokens("SET a = 1 , b = 'x'")) == {"a": "1", "b": "x"}
    assert used_database(tokens("USE `db`")) == "db"
    for sql in ("SET ROLE NONE", "SET a = 1 ; DROP x", "SET a = f ( x )", "SELECT 1", "SET"):
        assert set_settings(tokens(sql)) is None
    for sql in ("USE a ; DROP b", "USE a . b", "SELECT 1", "USE"):
        assert not used_database(tokens(sql))
