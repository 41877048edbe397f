"""Hooks for gunicorn: each worker is managed, as an instance of its own."""

import importlib
from typing import Any

started: list[Any] = []


def post_worker_init(worker: Any) -> None:
    """In the worker: it is forked, and the application is loaded."""
    started.append(importlib.import_module("flask_app").manage())


def worker_exit(server: Any, worker: Any) -> None:
    """In the worker, as it ends."""
    for management in started:
        management.stop()
