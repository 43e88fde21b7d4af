"""How many threads FAISS may use: a setting of the calling thread, remembered until the next."""

from __future__ import annotations

from functools import cache


def use_threads(count: int) -> None:
    """Let FAISS use so many threads from now on, when it is called by this one.

    For a single query one is best: FAISS's own would spin idly against the encoder's on the same
    cores.
    """
    import faiss

    all_threads()  # asked before it is changed
    faiss.omp_set_num_threads(count)


@cache
def all_threads() -> int:
    """How many threads FAISS would use by itself, `OMP_NUM_THREADS` told."""
    import faiss

    return int(faiss.omp_get_max_threads())
