"""Tests of ``backplane.sidecar``."""
