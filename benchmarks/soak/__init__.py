"""Fifty services for half an hour, with a broker and connections that break all the time."""
