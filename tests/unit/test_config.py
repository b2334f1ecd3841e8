"""Settings: precedence, messages, and where the .ell folder is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ell_otel import config
from ell_otel.errors import ConfigError
from ell_otel.telemetry.transport import LOGS, TRACES, destination


def test_an_argument_wins_over_the_environment_and_that_over_the_default() -> None:
    environment = {"ELL_OTEL_PORT": "1"}
    assert config.resolve({}).port == 5050
    assert config.resolve(environment).port == 1
    assert config.resolve(environment, port=2).port == 2
    assert config.resolve(environment, port=None).port == 1


def test_of_several_variables_the_first_that_is_set_and_not_empty_counts() -> None:
    assert config.resolve({"ELL_OTEL_DISABLED": "", "OTEL_SDK_DISABLED": "true"}).disabled


@pytest.mark.parametrize(
    ("variable", "text", "takes"),
    [
        ("ELL_OTEL_PORT", "many", "a whole number"),
        ("ELL_OTEL_DISABLED", "perhaps", "true or false"),
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SOME", "SPAN_ONLY"),
        ("ELL_OTEL_DURABILITY", "eternal", "group or strict"),
    ],
)
def test_a_value_that_cannot_be_read_is_said_with_what_the_variable_takes(variable: str, text: str, takes: str) -> None:
    with pytest.raises(ConfigError, match=f"{variable}='{text}' cannot be used: it takes .*{takes}"):
        config.resolve({variable: text})


def test_an_unknown_setting_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'directory'.*dir, store"):
        config.resolve({}, directory="x")


@pytest.mark.parametrize(
    ("environment", "recorded"),
    [
        ({}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector", config.CONTENT_SWITCH: "span_only"}, True),
        ({config.CONTENT_SWITCH: "NO_CONTENT"}, False),
        ({config.CONTENT_SWITCH: "SPAN_ONLY", "OTEL_EXPORTER_OTLP_ENDPOINT": "x",
          "ELL_OTEL_SET_BY_US": f"{config.CONTENT_SWITCH}=SPAN_ONLY"}, False),
    ],
)  # fmt: skip
def test_content_is_recorded_locally_and_elsewhere_only_when_a_person_asked(
    environment: dict[str, str], recorded: bool
) -> None:
    assert config.resolve(environment).record_content is recorded


@pytest.mark.parametrize(
    ("environment", "given", "spans", "events"),
    [
        ({"ENDPOINT": "http://a:1/"}, {}, ("http://a:1/v1/traces", "http/protobuf"), ("http://a:1/v1/logs", "http/protobuf")),
        ({"ENDPOINT": "http://a:1", "PROTOCOL": "grpc"}, {}, ("http://a:1", "grpc"), ("http://a:1", "grpc")),
        ({"TRACES_ENDPOINT": "http://b:2/in"}, {}, ("http://b:2/in", "http/protobuf"), ("http://localhost:4318/v1/logs", "http/protobuf")),
        ({"LOGS_ENDPOINT": "http://b:2/in", "PROTOCOL": "grpc"}, {}, ("http://localhost:4317", "grpc"), ("http://b:2/in", "grpc")),
        ({"ENDPOINT": "http://a:1", "LOGS_PROTOCOL": "grpc"}, {}, ("http://a:1/v1/traces", "http/protobuf"), ("http://a:1", "grpc")),
        ({"TRACES_ENDPOINT": "http://b:2/in"}, {"endpoint": "http://c:3"}, ("http://c:3/v1/traces", "http/protobuf"), ("http://c:3/v1/logs", "http/protobuf")),
    ],
)  # fmt: skip
def test_each_signal_has_its_way_by_opentelemetrys_rules_and_an_argument_wins(
    environment: dict[str, str], given: dict[str, str], spans: tuple[str, str], events: tuple[str, str]
) -> None:
    settings = config.resolve({f"OTEL_EXPORTER_OTLP_{name}": value for name, value in environment.items()}, **given)
    assert not settings.local
    assert destination(settings, TRACES) == spans
    assert destination(settings, LOGS) == events


def test_the_folder_is_the_nearest_one_within_the_project_or_goes_into_its_root(tmp_path: Path) -> None:
    deep = tmp_path / "project" / "a" / "b"
    deep.mkdir(parents=True)
    settings = config.resolve({})
    (tmp_path / "project" / "pyproject.toml").touch()
    assert config.find_directory(settings, deep) == tmp_path / "project" / ".ell"
    (tmp_path / "project" / "a" / ".ell").mkdir()
    assert config.find_directory(settings, deep) == tmp_path / "project" / "a" / ".ell"
    assert config.find_directory(config.resolve({}, dir="/elsewhere/.ell"), deep) == Path("/elsewhere/.ell")


def test_a_repository_is_one_project_however_many_packages_it_holds(tmp_path: Path) -> None:
    package = tmp_path / "packages" / "one"
    package.mkdir(parents=True)
    (package / "pyproject.toml").touch()
    (tmp_path / ".git").mkdir()
    assert config.find_directory(config.resolve({}), package) == tmp_path / ".ell"


def test_a_stray_folder_above_a_project_does_not_collect_what_runs_in_it(tmp_path: Path) -> None:
    (tmp_path / ".ell").mkdir()
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pyproject.toml").touch()
    assert config.find_directory(config.resolve({}), tmp_path / "project") == tmp_path / "project" / ".ell"


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder to another user takes root")
def test_a_folder_of_another_users_is_passed_over(tmp_path: Path) -> None:
    inner = tmp_path / "a" / ".ell"
    inner.mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    assert config.find_directory(config.resolve({}), tmp_path / "a") == inner
    os.chown(inner, 12345, 12345)
    assert config.find_directory(config.resolve({}), tmp_path / "a") == tmp_path / ".ell"
