"""What holds with a real nats-server holds with the fake broker, as an application sees it."""
