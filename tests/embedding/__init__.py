"""Managements in programs that are no Twisted programs."""
