"""Breakers with names: each stops one part of an application's work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Final

from zope.interface import implementer

from backplane.errors import StateError
from backplane.interfaces import INamedBreakers
from backplane.parts.breaker import Breaker

__all__ = ["Breakers"]

MAX_BREAKERS: Final = 100
"""How many there may be: each is looked at whenever an operator asks for any."""

MAX_NAME: Final = 64

_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")

_METHODS: Final = ("pause", "resume", "flip", "paused")


@implementer(INamedBreakers)
class Breakers:
    """Breakers by name, beside the one of the whole application.

    ::

        breakers = Breakers("payments", "search")

        with breakers.breaker("payments"):            # as with any Breaker
            pay()

    Every method may be called in any thread.

    :param names: of letters ``a-z``, digits, ``_``, ``.`` and ``-``, up to 64 of them.
    :raises ValueError: for a name that is none.
    """

    def __init__(self, *names: str) -> None:
        self._breakers: dict[str, Any] = {}
        self._lock = threading.Lock()
        for name in names:
            self.breaker(name)

    def breaker(self, name: str) -> Breaker:
        """Return the breaker of this name, which is made, and closed, when there is none yet.

        :raises ValueError: for a name that is none.
        :raises TypeError: when what was added under that name is no ``Breaker``.
        :raises StateError: when there are 100 already.
        """
        found = self._breakers.get(name)
        if found is None:
            found = self._put(name, Breaker())
        if not isinstance(found, Breaker):
            raise TypeError(f"{name!r} is a {type(found).__name__}, which nobody can wait on here")
        return found

    def add(self, name: str, breaker: object) -> None:
        """Add a breaker that there is already, such as one of the program's own kind.

        :param breaker: has the methods of :class:`~backplane.interfaces.IPausable`.
        :raises ValueError: for a name that is none, or is taken.
        :raises TypeError: when a method is missing.
        :raises StateError: when there are 100 already.
        """
        for method in _METHODS:
            if not callable(getattr(breaker, method, None)):
                raise TypeError(f"{type(breaker).__name__} has no method {method}()")
        if self._put(name, breaker) is not breaker:
            raise ValueError(f"there is a breaker {name!r} already")

    def breakers(self) -> dict[str, Any]:
        """See :class:`~backplane.interfaces.INamedBreakers`."""
        with self._lock:
            return dict(self._breakers)

    def __call__(self) -> dict[str, Any]:
        """Return what :meth:`breakers` does, so that this stands for the method."""
        return self.breakers()

    def __getitem__(self, name: str) -> Any:
        return self._breakers[name]

    def __contains__(self, name: object) -> bool:
        return name in self._breakers

    def __iter__(self) -> Iterator[str]:
        return iter(self.breakers())

    def __len__(self) -> int:
        return len(self._breakers)

    def __repr__(self) -> str:
        return f"<Breakers {' '.join(self)}>" if len(self) else "<Breakers>"

    def _put(self, name: str, breaker: object) -> Any:
        """Put a breaker under a name that is free; return what stands there then."""
        _check_name(name)
        with self._lock:
            if name not in self._breakers and len(self._breakers) >= MAX_BREAKERS:
                raise StateError(f"there are {MAX_BREAKERS} breakers already, and {name!r} is new")
            return self._breakers.setdefault(name, breaker)


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not _LETTERS.issuperset(name):
        raise ValueError(
            f"{name!r} is no name of a breaker: up to {MAX_NAME} of a-z, 0-9, _, . and -"
        )
