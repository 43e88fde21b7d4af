"""The help: complete, and there before anything heavy is loaded."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points, version

import click
import pytest
from click.testing import Result

from retrieval.cli import main

COMMANDS = sorted(main.commands)
HEAVY = {"numpy", "sqlalchemy", "torch", "timm", "openvino", "faiss", "PIL", "fastapi", "uvicorn"}


def words(text: str) -> str:
    """Undo the wrapping of lines; a name broken at its hyphen is whole again."""
    return re.sub(r"\s+", " ", re.sub(r"(?<=\w-)\n\s*", "", text))


def test_the_commands_are_those_a_user_is_told_of() -> None:
    fill = {"build-index", "add", "remove", "relabel"}
    ask = {"query", "verify", "eval", "make-pairs", "tune-threshold", "cluster"}
    learn = {"train", "train-verifier"}
    look_after = {"list", "info", "check", "audit", "dedupe", "compare", "reembed", "compact"}
    look_after |= {"copy"}
    serve = {"serve"}
    assert set(COMMANDS) == fill | ask | learn | look_after | serve | {"demo"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_a_help_text(name: str) -> None:
    command = main.commands[name]
    assert command.help
    assert command.get_short_help_str()
    options = [one for one in command.params if isinstance(one, click.Option)]
    assert [one.opts for one in options if not one.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_says_what_each_argument_is(name: str) -> None:
    command = main.commands[name]
    for argument in command.params:
        if isinstance(argument, click.Argument):
            assert argument.name is not None
            singular = argument.name.upper().removesuffix("S")
            assert re.search(rf"\b{singular}S?\b", command.help or ""), argument.name


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_shows_all_its_options(name: str, run: Callable[..., Result]) -> None:
    result = run(name, "-h")
    assert result.exit_code == 0
    assert result.stdout == run(name, "--help").stdout
    shown = words(result.stdout)
    assert words((main.commands[name].help or "").split("\n\n")[0]) in shown
    for option in main.commands[name].params:
        if isinstance(option, click.Option):
            assert all(spelling in shown for spelling in option.opts)
            assert words(option.help or "") in shown


def test_the_help_shows_all_commands(run: Callable[..., Result]) -> None:
    result = run("-h")
    assert result.exit_code == 0
    assert result.stdout == run("--help").stdout
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\w", result.stdout, re.MULTILINE), name


@pytest.mark.parametrize(
    "lines",
    [[["--help"]], [["--version"]], [[name, "--help"] for name in COMMANDS]],
    ids=["--help", "--version", "COMMAND --help"],
)
def test_help_loads_nothing_heavy(lines: list[list[str]]) -> None:
    code = (
        "import json, sys\n"
        "from retrieval.cli import main\n"
        f"for line in {lines}:\n"
        "    assert main(line, prog_name='lookalike', standalone_mode=False) == 0\n"
        "print(json.dumps([name.split('.')[0] for name in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *said, loaded = done.stdout.splitlines()
    assert said
    assert HEAVY & set(json.loads(loaded)) == set()


def test_the_version_is_that_of_the_package(run: Callable[..., Result]) -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout == f"lookalike, version {version('lookalike')}\n"


def test_the_package_installs_the_command() -> None:
    (script,) = entry_points(group="console_scripts", name="lookalike")
    assert script.load() is main


def test_an_unknown_command_is_a_usage_error(run: Callable[..., Result]) -> None:
    result = run("find")
    assert result.exit_code == 2
    assert "No such command 'find'" in result.stderr
