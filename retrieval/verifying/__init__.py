"""The verifier: it learns from a gallery's pairs to say whether two photos show the same."""
