"""Evaluation: metrics (pure NumPy), what they are measured on, threshold tuning."""
