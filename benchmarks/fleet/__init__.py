"""A fleet of many services in few processes: one command on all, and two storms."""
