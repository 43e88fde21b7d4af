"""What runs the service elsewhere starts the command as it is, with no more rights than needed."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

import retrieval
from retrieval.cli import main

DEPLOY = Path(retrieval.__file__).parent.parent / "scripts" / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
UNIT = DEPLOY / "lookalike.service"


def understood(arguments: list[str]) -> click.Context:
    """Let the command read its arguments; it runs nothing."""
    name, *rest = arguments
    # As the group would: a command keeps the names of its help option from the first time.
    return main.commands[name].make_context(
        name, rest, parent=click.Context(main, **main.context_settings)
    )


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, each with what it says."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(one.split(" ", 1)[0], one.split(" ", 1)[1]) for one in joined.splitlines() if one]


def test_the_image_starts_the_command() -> None:
    said = dict(instructions())
    assert json.loads(said["ENTRYPOINT"]) == ["lookalike"]
    params = understood(json.loads(said["CMD"])).params
    assert (params["host"], str(params["place"])) == ("0.0.0.0", "/gallery")
    assert params["token_file"] is not None
    assert said["EXPOSE"] == str(params["port"])


def test_the_image_runs_as_nobody_and_looks_after_itself() -> None:
    names = [name for name, _ in instructions()]
    assert set(names) <= {
        *("FROM", "WORKDIR", "RUN", "ENV", "COPY", "USER", "VOLUME", "EXPOSE"),
        *("HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD"),
    }
    last = names[len(names) - names[::-1].index("FROM") :]
    assert "USER" in last
    assert not {"RUN", "COPY"} & set(last[last.index("USER") :])
    said = dict(instructions())
    assert said["USER"] == "10001:10001"
    assert json.loads(said["VOLUME"]) == ["/gallery", "/tmp"]
    probe = json.loads(said["HEALTHCHECK"].partition("CMD ")[2])
    compile(probe[2], "probe", "exec")
    assert "/healthz" in probe[2]


def test_the_image_takes_only_what_is_installed() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    assert ignored[0] == "*"
    taken = [name.removeprefix("!") for name in ignored if name.startswith("!")]
    assert all((DEPLOY.parent.parent / name).exists() for name in taken)
    assert {"retrieval", "indexes", "db", "pyproject.toml", "README.md", "LICENSE"} == set(taken)


def unit() -> configparser.SectionProxy:
    # Its values hold %, and its names count.
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT, encoding="utf-8")
    return parser["Service"]


def test_the_unit_starts_the_command() -> None:
    command = unit()["ExecStart"].split()
    assert command[0].endswith("/lookalike")
    params = understood(command[1:]).params
    assert params["host"] == "127.0.0.1"
    assert params["token_file"] == Path("%d/tokens")
    assert str(params["place"]).startswith(f"/var/lib/{unit()['StateDirectory']}/")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DynamicUser", "yes"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
    ],
)
def test_the_unit_may_little(name: str, value: str) -> None:
    assert unit()[name] == value


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    checked = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    checked.write_text(text.replace(unit()["ExecStart"].split()[0], sys.executable))
    checker = shutil.which("systemd-analyze")
    if checker is None:  # the tests above have read what they could
        return
    done = subprocess.run(
        [checker, "verify", str(checked)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
