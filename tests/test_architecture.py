"""The house rules of the code, read off its imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import retrieval

ROOT = Path(retrieval.__file__).parent.parent
PACKAGES = ("retrieval", "indexes", "db")
HEAVY = {
    *("torch", "timm", "torchvision", "openvino", "faiss", "pandas", "matplotlib", "sklearn"),
    *("alembic", "tqdm", "pytorch_metric_learning", "xgboost", "psycopg", "pgvector"),
    *("pymilvus", "grpc"),
    *("fsspec", "s3fs"),
}
MODULES = [
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if "migrations" not in path.parts
]


def imported(nodes: list[ast.stmt]) -> Iterator[str]:
    """Yield the top-level packages that these statements import, functions left out."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.If) and ast.unparse(node.test) != "TYPE_CHECKING":
            yield from imported(node.body + node.orelse)
        elif isinstance(node, (ast.Try, ast.With, ast.ClassDef)):
            yield from imported(node.body)


def imported_anywhere(path: Path) -> set[str]:
    nodes = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    return set(imported(nodes))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_modules_to_read() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(PACKAGES)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_data_flows_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    others = set(PACKAGES) - {package}
    if package != "retrieval":
        assert not imported_anywhere(path) & others


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_relative_imports_hide_where_a_name_lives(path: Path) -> None:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in nodes)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_heavy_imports_wait_until_they_are_used(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not set(imported(tree.body)) & HEAVY


def test_importing_a_gallery_loads_nothing_heavy() -> None:
    script = "import sys, retrieval.gallery, retrieval.cli; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not set(done.stdout.split()) & (HEAVY | {"sqlalchemy.dialects.postgresql"})


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_is_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450
