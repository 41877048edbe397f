"""Who somebody is, what he may do, and whether a message is his: pure."""
