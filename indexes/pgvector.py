"""Search in PostgreSQL: vectors lie in a table that somebody else writes, as pgvector's `halfvec`.

What is asked is asked in the caller's transaction, and so of its snapshot: nothing is held here,
and nothing has to be brought up to date. Where `indexes.pgvector_building.prepare` made an index, a
search looks into the nearest cells of its inverted file or goes along its HNSW graph; elsewhere
every row is looked at. Malkov and Yashunin, "Efficient and robust approximate nearest neighbor
search using Hierarchical Navigable Small World graphs", 2018.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

import numpy as np
from numpy.typing import NDArray

from indexes.protocol import SUMMING, Changes, Hits, require_question

if TYPE_CHECKING:
    from psycopg import Connection, sql

# The most cells that pgvector lets a search look into, and the most vectors of a graph that it lets
# it keep in view at first.
_MOST_CELLS, _MOST_IN_VIEW = 32_768, 1000
# Eight find nearly all of the ten nearest of 100,000, and 400 in view 99 %: docs/scaling.md.
_CELLS, _IN_VIEW = 16, 400
# Allowed ids, and their share of all, up to which their rows are read: an index would pass by too
# many others.
_FEW_ALLOWED, _SMALL_SHARE = 5000, 1 / 50
# Vectors of a graph looked at, beyond those asked for, before a search looks at all there are.
_SCANNED = 20_000
# Queries sent at once: 20 MB of text at 1280 dimensions.
_TOGETHER = 1000
# How long a unit vector may be once it is rounded to 16 bits.
_LENGTH = 1.001
# Compiling a statement takes longer than it saves.
_PLANNING = {"jit": "off"}


@dataclass(frozen=True)
class VectorTable:
    """Where vectors lie. The names are quoted; the condition is not, so it must be our own.

    Attributes:
        name: The table's name, found by the connection's search path.
        id: Its column of ids, a primary key.
        vector: Its column of vectors, a `halfvec` of any dimension.
        live: The SQL condition for the rows that count, of constants alone, such as
            `encoder_id = 3 AND removed_seq IS NULL`: an index holds what meets it.
    """

    name: str
    id: str
    vector: str
    live: str

    def quoted(self) -> dict[str, sql.Composable]:
        """Return the parts of a statement by the names of these attributes; `table` is the name."""
        from psycopg import sql

        return {
            "table": sql.Identifier(self.name),
            "id": sql.Identifier(self.id),
            "vector": sql.Identifier(self.vector),
            "live": sql.SQL(self.live),
        }


class PgvectorIndex:
    """What a connection's transaction sees of a table, as an index.

    It costs nothing to make and holds nothing: make one per snapshot.
    """

    kind = "pgvector"

    def __init__(
        self,
        connection: Connection[Any],
        table: VectorTable,
        dim: int,
        *,
        exact: bool = False,
        farther: int = 1,
    ) -> None:
        """Ask through a connection, in whatever transaction it is at that moment.

        Where it is in none, each search is a transaction of its own.

        Args:
            connection: Left as it is: its settings, its transaction, and open.
            table: Where the vectors lie.
            dim: Length of those that count.
            exact: Look at every row, even where there is an index.
            farther: How many times as far to look as was found to be enough.
        """
        self._connection = connection
        self._table = table
        self._dim = dim
        self._exact = exact
        self._farther = farther

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._dim

    def __len__(self) -> int:
        """Count the rows that can be found: PostgreSQL looks at each of them."""
        from psycopg import sql
        from psycopg.rows import scalar_row

        count = sql.SQL("SELECT count(*) FROM {table} WHERE {live}").format(**self._table.quoted())
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            return int(cursor.execute(count).fetchone() or 0)

    def apply(self, changes: Changes) -> None:
        """Do nothing: the table is already as the changes say."""

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allow: NDArray[np.int64] | None = None,
        probes: int | None = None,
    ) -> Hits:
        """Find the k nearest vectors of each query.

        Where an index gives fewer than k, every row is looked at: as an exact index, this one
        returns k vectors wherever there are as many.

        Args:
            queries: float32, shape `(n_queries, dim)`, L2-normalised; compared as 16-bit floats,
                as the vectors are.
            k: At least 1.
            allow: int64 ids to search among; `None` allows all.
            probes: How many cells a search looks into at first (`ivfflat.probes`), or how many
                vectors of a graph it keeps in view (`hnsw.ef_search`), 1 to 1000; at least k of
                them are. `None` takes what was found to be enough.

        Raises:
            ValueError: The queries' shape is not `(n, dim)`, or k is below 1.
            psycopg.Error: The table can't be asked.
        """
        require_question(queries, k, self._dim)
        rounded = queries.astype(np.float16)
        lost = np.linalg.norm(queries - rounded.astype(np.float32), axis=1).max(initial=0)
        hits = Hits.empty(len(queries), k, error=float(lost) * _LENGTH + SUMMING)
        if not len(queries) or (allow is not None and not len(allow)):
            return hits
        share = 1.0 if allow is None or self._exact else self._share(allow)
        if self._exact or share <= _SMALL_SHARE:
            self._fill(hits, rounded, np.arange(len(queries)), allow, {})
            return hits
        settings = _by_index(k, probes, share / self._farther)
        self._fill(hits, rounded, np.arange(len(queries)), allow, settings)
        # What is short either ends there, or a graph was given up.
        short = np.flatnonzero(hits.ids[:, -1] < 0)
        self._fill(hits, rounded, short, allow, {})
        return hits

    def close(self) -> None:
        """Do nothing: the connection is the caller's."""

    def _share(self, allow: NDArray[np.int64]) -> float:
        """Estimate which share of the rows is allowed; 0 where those are few."""
        if len(allow) <= _FEW_ALLOWED:
            return 0
        from psycopg.rows import scalar_row

        # As many as there were when the table was last analysed, -1 if never.
        size = "SELECT reltuples::float8 FROM pg_class WHERE oid = to_regclass(%s)"
        name = self._table.quoted()["table"].as_string(self._connection)
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            rows = cursor.execute(size, (name,)).fetchone() or 0
        return len(allow) / max(rows, int(allow.max()) - int(allow.min()) + 1)

    def _fill(
        self,
        hits: Hits,
        queries: NDArray[np.float16],
        places: NDArray[np.int64],
        allow: NDArray[np.int64] | None,
        settings: dict[str, str],
    ) -> None:
        """Answer the queries at these places; exactly without settings."""
        k = hits.ids.shape[1]
        for start in range(0, len(places), _TOGETHER):
            some = places[start : start + _TOGETHER]
            rows = self._ask(queries[some], k, allow, settings)
            found = np.array(rows, dtype=[("place", "i8"), ("id", "i8"), ("distance", "f8")])
            found.sort(order=("place", "distance", "id"))
            first = np.searchsorted(found["place"], found["place"], side="left")
            row, column = some[found["place"] - 1], np.arange(len(found)) - first
            hits.ids[row, column] = found["id"]
            # Rounding can carry a product of unit vectors past 1.
            hits.distances[row, column] = found["distance"].clip(0, 2)

    def _ask(
        self,
        queries: NDArray[np.float16],
        k: int,
        allow: NDArray[np.int64] | None,
        settings: dict[str, str],
    ) -> list[tuple[int, int, float]]:
        """Return (place, id, distance) of what is nearest to each query; places count from 1."""
        from pgvector import HalfVector
        from psycopg.rows import tuple_row

        texts = [HalfVector(query).to_text() for query in queries]
        asked: dict[str, Any] = {"k": k, "query": texts[0] if len(texts) == 1 else texts}
        allowed: LiteralString = ""
        if allow is not None:
            allowed, given = _as_list(allow) if not settings else _as_bits(allow)
            asked |= given
        statement = self._statement(allowed, many=len(texts) > 1, exact=not settings)
        # A transaction that is rolled back leaves no setting behind; inside of another it is a
        # savepoint.
        with (
            self._connection.pipeline(),
            self._connection.transaction(force_rollback=True),
            self._connection.cursor(row_factory=tuple_row, binary=True) as cursor,
        ):
            for name, value in (_PLANNING | settings).items():
                self._connection.execute("SELECT set_config(%s, %s, true)", (name, value))
            cursor.execute(statement, asked)
            return cursor.fetchall()

    def _statement(self, allowed: LiteralString, *, many: bool, exact: bool) -> sql.Composed:
        from psycopg import sql

        names = self._table.quoted() | {"dim": sql.Literal(self._dim)}
        names["query"] = sql.SQL("asked.query" if many else "%(query)s::halfvec({dim})").format(
            **names
        )
        names["product"] = sql.SQL("({vector}::halfvec({dim})) <#> {query}").format(**names)
        # An index answers only for the very expression it is on, which this sum is not.
        order = "1 + ({product}), {id}" if exact else "{product}"
        nearest = sql.SQL(
            "SELECT {id} AS id, 1 + ({product}) AS distance FROM {table} "
            "WHERE {live}{allowed} ORDER BY {order} LIMIT %(k)s"
        ).format(
            **names, allowed=sql.SQL(allowed).format(**names), order=sql.SQL(order).format(**names)
        )
        if not many:
            return sql.SQL("SELECT 1, * FROM ({}) AS nearest").format(nearest)
        return sql.SQL(
            "WITH asked AS MATERIALIZED (SELECT place, text::halfvec({dim}) AS query "
            "FROM unnest(%(query)s::text[]) WITH ORDINALITY AS given (text, place)) "
            "SELECT asked.place, nearest.* FROM asked CROSS JOIN LATERAL ({nearest}) AS nearest"
        ).format(nearest=nearest, **names)


def _as_list(allow: NDArray[np.int64]) -> tuple[LiteralString, dict[str, Any]]:
    """Return what is added to the condition, and its parameters, to read the rows by their ids."""
    return " AND {id} = ANY(%(allow)s::bigint[])", {"allow": allow.tolist()}


def _as_bits(allow: NDArray[np.int64]) -> tuple[LiteralString, dict[str, Any]]:
    """Return the same for rows that come from an index: bits are quicker to send and look up."""
    first, last = int(allow.min()), int(allow.max())
    places = allow - first
    bits = np.zeros((last - first) // 8 + 1, dtype=np.uint8)
    np.bitwise_or.at(bits, places >> 3, np.left_shift(1, places & 7).astype(np.uint8))
    return (
        " AND CASE WHEN {id} BETWEEN %(first)s AND %(last)s "
        "THEN get_bit(%(bits)s, {id} - %(first)s) = 1 ELSE false END",
        {"first": first, "last": last, "bits": bits.tobytes()},
    )


def _by_index(k: int, probes: int | None, share: float) -> dict[str, str]:
    """Return the settings for a search that uses an index wherever there is one, of either kind."""
    # Among a share of all, the nearest lie farther out.
    cells = probes or math.ceil(_CELLS / share)
    in_view = max(probes or math.ceil(_IN_VIEW / math.sqrt(share)), k)
    return {
        # PostgreSQL takes reading vectors kept apart from their rows (TOAST) for free, and would
        # rather look at all of them; only an index spares it the sorting.
        "enable_sort": "off",
        "ivfflat.probes": str(min(cells, _MOST_CELLS)),
        "hnsw.ef_search": str(min(in_view, _MOST_IN_VIEW)),
        # Goes on where rows were removed or aren't allowed; hits are sorted here.
        "ivfflat.iterative_scan": "relaxed_order",
        "ivfflat.max_probes": str(_MOST_CELLS),
        "hnsw.iterative_scan": "relaxed_order",
        "hnsw.max_scan_tuples": str(_SCANNED + 2 * k),
    }
