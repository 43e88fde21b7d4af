"""The service: a gallery over HTTP, for browsers and programs. Needs `lookalike[serve]`."""
