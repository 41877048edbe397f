"""Measurements of the package; ``python -m benchmarks`` prints one table of ratios."""
