"""Helpers for the tests of applications that embed the backplane."""
