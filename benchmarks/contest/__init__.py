"""The NATS client beside nats-py: the same work, in turn, in one run."""
