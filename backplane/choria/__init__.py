"""Choria messages, filters and DDLs: pure, no Twisted, no sockets, no clock."""
