"""An embeddable Choria management backplane for Python services, on Twisted."""

from backplane._version import __version__

__all__ = ["__version__"]
