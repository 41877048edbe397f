"""Tests of the backplane."""

from hypothesis import HealthCheck, settings

# How fast a machine is, or how busy, is no reason to fail.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
