"""Photos of invented packagings, drawn on the spot, to try a gallery on."""

from retrieval.sample.designs import Packaging, packagings
from retrieval.sample.photos import VIEWS, Sample, photograph, write_sample

__all__ = ["VIEWS", "Packaging", "Sample", "packagings", "photograph", "write_sample"]
