"""The `lookalike` command: its subcommands, and how mistakes are told."""

from __future__ import annotations

import errno
from typing import Any

import click

from retrieval.cli.asking import query
from retrieval.cli.auditing import audit
from retrieval.cli.changing import relabel, remove
from retrieval.cli.clustering import cluster
from retrieval.cli.compacting import compact
from retrieval.cli.copying import copy
from retrieval.cli.deduplicating import dedupe
from retrieval.cli.evaluating import evaluate
from retrieval.cli.filling import add, build_index
from retrieval.cli.looking import check, info, list_items
from retrieval.cli.pairing import make_pairs
from retrieval.cli.reembedding import compare, reembed
from retrieval.cli.serving import serve
from retrieval.cli.training import train
from retrieval.cli.trying import demo
from retrieval.cli.tuning import tune_threshold
from retrieval.cli.verifying import train_verifier, verify

# What a disk says that a user can mend, whatever was wanted of it.
_DISK_REFUSES = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.EROFS, errno.EACCES, errno.EPERM),
}


class _Mistake(click.ClickException):
    """Something the user can mend: one sentence on stderr, exit code 2."""

    exit_code = 2


class _Group(click.Group):
    """Tells a user's mistake in its own words and leaves tracebacks to bugs."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            # Imported here, as `--help` needs none of it.
            from db import StoreError
            from indexes import EngineError
            from retrieval.errors import LookalikeError

            if isinstance(error, (LookalikeError, StoreError, EngineError)):
                raise _Mistake(str(error)) from error
            if isinstance(error, OSError) and error.errno in _DISK_REFUSES:
                where = error.filename2 or error.filename or "A file"
                raise _Mistake(
                    f"{where} can't be used as asked ({error.strerror}): see to its permissions "
                    "and to room on its disk; what was stored before is kept."
                ) from error
            raise


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lookalike")
def main() -> None:
    r"""Who is in this photo?

    Point lookalike at a folder of reference photos, then hand it a new photo: it names which
    reference item that photo shows, or says unknown.

    \b
      lookalike build-index PHOTOS -g GALLERY
      lookalike query PHOTO -g GALLERY
    """


for command in (
    build_index,
    query,
    add,
    remove,
    relabel,
    list_items,
    info,
    check,
    audit,
    dedupe,
    cluster,
    evaluate,
    tune_threshold,
    make_pairs,
    train,
    train_verifier,
    verify,
    compare,
    reembed,
    compact,
    copy,
    serve,
    demo,
):
    main.add_command(command)
