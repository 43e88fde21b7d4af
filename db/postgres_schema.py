"""What a database of PostgreSQL needs besides the models: functions, a condition, storage."""

from __future__ import annotations

import sys
import unicodedata

from sqlalchemy import text

from db.schema import GONE, OF_TOMBSTONES, Base

for _index in Base.metadata.tables["vectors"].indexes:
    if _index.name == OF_TOMBSTONES:
        _index.dialect_kwargs["postgresql_where"] = text(GONE)

# `db.conditions.number` in SQL. The texts that reach the cast are numbers by their look; it refuses
# those out of range only, and says the same of too large ones and of too small ones.
_NUMBER = """
CREATE OR REPLACE FUNCTION lookalike_number(value text) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE STRICT AS $body$
DECLARE said text := btrim(value, 'SPACES');
BEGIN
  IF octet_length(said) <> char_length(said) THEN
    said := translate(said, 'DIGITS', 'ASCII');
  END IF;
  IF said !~ '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$' THEN
    RETURN NULL;
  END IF;
  IF char_length(said) < 16 AND said !~ '[eE]' THEN
    RETURN said::double precision;
  END IF;
  BEGIN
    RETURN said::double precision;
  EXCEPTION WHEN numeric_value_out_of_range THEN
    RETURN CASE WHEN said ~ '[eE]-|^[+-]?0*[.]' THEN 0 END;
  END;
END $body$
"""

# The entries of a JSON object as `json_each` of SQLite shows them.
_ENTRIES = """
CREATE OR REPLACE FUNCTION lookalike_entries(entries json)
RETURNS TABLE (key text, atom text, value text)
LANGUAGE sql IMMUTABLE STRICT AS $body$
  SELECT one.key,
    CASE WHEN json_typeof(one.value) IN ('array', 'object') THEN NULL ELSE said.shown END,
    said.shown
  FROM json_each(entries) AS one, LATERAL (
    SELECT CASE one.value::text WHEN 'true' THEN '1' WHEN 'false' THEN '0'
      ELSE one.value #>> '{}' END AS shown
  ) AS said
$body$
"""

# Vectors stay in their rows, of which a page holds three of 1280 numbers: elsewhere, each would
# have to be looked up.
_STORAGE = "ALTER TABLE vectors SET (toast_tuple_target = 8160)"


def finishing_statements() -> tuple[str, ...]:
    """Return the statements that follow those of the tables; they can be run again."""
    return _number(), _ENTRIES, _STORAGE


def _number() -> str:
    characters = [chr(code) for code in range(1, sys.maxunicode + 1)]
    # What `float` passes over: the separators of ASCII are none.
    spaces = [one for one in characters if one.isspace() and one not in "\x1c\x1d\x1e\x1f"]
    digits = [one for one in characters if not one.isascii() and unicodedata.category(one) == "Nd"]
    ascii_digits = [str(unicodedata.decimal(one)) for one in digits]
    return (
        _NUMBER.replace("SPACES", "".join(spaces))
        .replace("DIGITS", "".join(digits))
        .replace("ASCII", "".join(ascii_digits))
    )
