"""What the benchmarks share."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
from openvino import Core


@dataclass(frozen=True)
class Run:
    """How a run of the command went.

    Attributes:
        seconds: From its start to its end.
        peak_memory: The most it held at a time, in bytes.
        output: What it printed.
    """

    seconds: float
    peak_memory: int
    output: str


# A process of its own starts the command: what it holds at a time would count as the command's.
_LAUNCHER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
process = subprocess.Popen(sys.argv[1:], **quiet)
output = process.stdout.read()
_, status, usage = os.wait4(process.pid, 0)
json.dump([status, time.perf_counter() - start, usage.ru_maxrss * 1024, output], sys.stdout)
"""


def run_lookalike(*arguments: object) -> Run:
    """Run the command with these arguments.

    Raises:
        click.ClickException: It failed.
    """
    command = [Path(sys.executable).with_name("lookalike"), *arguments]
    return run(*command)


def run(*command: object) -> Run:
    """Run any command.

    Raises:
        click.ClickException: It failed.
    """
    launch = [sys.executable, "-c", _LAUNCHER, *map(str, command)]
    done = subprocess.run(launch, stdout=subprocess.PIPE, text=True, check=True)
    status, seconds, peak_memory, output = json.loads(done.stdout)
    if status != 0:
        raise click.ClickException(f"{' '.join(map(str, command))} ended with status {status}.")
    return Run(seconds, peak_memory, output)


def processor() -> str:
    """Name what the numbers were measured on: cores, model, and the arithmetic it has."""
    core = Core()
    native = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    name = core.get_property("CPU", "FULL_DEVICE_NAME")
    wide = [one for one in ("BF16", "INT8") if one in native]
    amx = ["AMX"] if _flag("amx_bf16") else []
    return f"{os.cpu_count()} cores, {name} ({', '.join([*amx, *wide])}), {platform.system()}"


def _flag(name: str) -> bool:
    info = Path("/proc/cpuinfo")
    return info.exists() and f" {name} " in info.read_text(encoding="utf-8")
