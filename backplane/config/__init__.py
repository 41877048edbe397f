"""Configuration files of services and clients: pure."""
