"""Reactors of our own, so that nobody's global reactor is used or installed."""
