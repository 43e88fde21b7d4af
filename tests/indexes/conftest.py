"""What the tests of indexes share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest


@pytest.fixture
def connection(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to an empty database, in autocommit mode."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection
