"""What PostgreSQL and its driver refuse, in words a user can act on."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from db.backend import BUSY_SECONDS

# By the code of the refusal; those of one class share its first two characters.
_BY_CODE = {
    "3D000": "There is no database {place}: make it with `createdb`.",
    "28": "{place} lets nobody in like that ({reason}): check the user and the password.",
    "42501": "{place} does not let this user do that ({reason}): ask whoever looks after it.",
    "55P03": (
        "{place} was busy for {seconds} s: another process holds its write lock; wait for it to "
        "end and try again."
    ),
    "53100": (
        "No space is left on the server of {place}: free some and try again; nothing is lost."
    ),
    "53300": "The server of {place} has too many connections: close some and try again.",
    "25006": "{place} can't be written to: name the primary server, not a copy of it.",
    "22021": "{place} keeps no texts with the character NUL in them: take it out.",
    "57P03": "The server of {place} is starting or stopping ({reason}): try again shortly.",
    "42P01": "{place} is no lookalike store ({reason}): name one made by `lookalike build-index`.",
}
# By what the message says, where there is no code: the driver gives none on connecting.
_BY_WORDS = {
    'role "': "28",
    "does not exist": "3D000",
    "password": "28",
    "no pg_hba.conf entry": "28",
    "authentication": "28",
    "too many": "53300",
    "remaining connection slots": "53300",
    "is starting up": "57P03",
    "is shutting down": "57P03",
    "not yet accepting": "57P03",
    "NUL (0x00)": "22021",
}
_EXTENSION = (
    "The server of {place} has no pgvector: install it there (it is packaged as "
    "postgresql-NN-pgvector, for version NN), and try again."
)
_MAY_NOT_CREATE = (
    "{place} does not let this user add pgvector: let an administrator run `CREATE EXTENSION "
    "vector` in it once."
)
_BROKEN = "The connection to {place} broke ({reason}): nothing of what was under way is kept."
_BROKEN_AT_END = (
    "The connection to {place} broke ({reason}) as a write ended: it is wholly there or wholly "
    "absent; look which before you try again."
)
_UNREACHABLE = (
    "{place} can't be reached ({reason}): see that the server runs and lets this machine in."
)


def sentence(error: Exception, place: str, *, committing: bool = False) -> str:
    """Put a refusal in words.

    Args:
        error: What SQLAlchemy or the driver raised.
        place: What to call the database.
        committing: Whether it came when a write was to be made durable.
    """
    import psycopg

    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    said = cause if isinstance(cause, psycopg.Error) else psycopg.Error(str(cause))
    whole = " ".join(str(said).split())
    reason = (said.diag.message_primary or whole).rstrip(".")
    return _form(said, whole, committing=committing).format(
        place=place, reason=reason, seconds=BUSY_SECONDS
    )


def _form(error: Exception, whole: str, *, committing: bool) -> str:
    import psycopg

    code = getattr(error, "sqlstate", None) or ""
    connecting = not code and "connection failed" in whole
    if 'extension "vector"' in whole:
        return _MAY_NOT_CREATE if code == "42501" else _EXTENSION
    if not code or connecting:
        code = next((code for words, code in _BY_WORDS.items() if words in whole), "")
    known = _BY_CODE.get(code) or _BY_CODE.get(code[:2])
    if known:
        return known
    if connecting or "connection timeout" in whole:
        return _UNREACHABLE
    # 57P01 to 57P05: the server ends the session; 08: the connection itself.
    if code.startswith(("57P", "08")) or (
        not code and isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    ):
        return _BROKEN_AT_END if committing else _BROKEN
    return "{place}: the database refused ({reason})."
