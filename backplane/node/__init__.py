"""A service on the network: what answers operators."""
