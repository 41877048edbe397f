"""Small files of the operator's own."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from backplane.client import statefolder as module
from backplane.client.statefolder import locked, read_json, state_folder, write_json


class StateFolderTests(SynchronousTestCase):
    """Where they lie, and that they are whole."""

    def test_places(self) -> None:
        """What the environment says, else below the home; without either nowhere."""
        for environ, home, wanted in (
            ({}, "/home/bob", "/home/bob/.local/state/backplane"),
            ({"XDG_STATE_HOME": "/state"}, "/home/bob", "/state/backplane"),
            ({"XDG_STATE_HOME": "relative"}, "/home/bob", "/home/bob/.local/state/backplane"),
            ({"XDG_STATE_HOME": ""}, "", None),
        ):
            self.assertEqual(state_folder(environ, home), wanted)

    def test_whole(self) -> None:
        """A file that cannot be written anew is the old one, and nothing is left beside it."""
        path = Path(self.mktemp()).absolute() / "a" / "b.json"
        self.assertIsNone(read_json(str(path)))
        write_json(str(path), {"a": 1})
        self.assertRaises(TypeError, write_json, str(path), {"a": object()})
        self.assertEqual(read_json(str(path)), {"a": 1})
        self.assertEqual(os.listdir(path.parent), ["b.json"])

    def test_bounds(self) -> None:
        """What is too large, nested or no JSON is a ValueError."""
        path = Path(self.mktemp()).absolute()
        for text in ("[" * 100_000, "no", '{"a": "' + "x" * 100 + '"}'):
            path.write_text(text)
            self.patch(module, "MAX_SIZE", 90 if text.startswith("{") else 1_000_000)
            self.assertRaises(ValueError, read_json, str(path))

    def test_locked(self) -> None:
        """Somebody who has the lock is waited for, but not for ever."""
        path = str(Path(self.mktemp()).absolute() / "a.json")
        self.patch(module, "PATIENCE", 0.02)
        with locked(path), locked(path):
            write_json(path, [])
        self.assertEqual(read_json(path), [])
