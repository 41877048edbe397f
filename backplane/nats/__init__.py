"""A NATS client for Twisted. Imports nothing else of the backplane."""
