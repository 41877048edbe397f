"""The reliability checklist of the NATS client, on real servers; each item has its id in a name."""
