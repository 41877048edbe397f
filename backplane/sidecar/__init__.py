"""An outside process as a provider of the management interfaces."""

from backplane.sidecar.errors import SidecarError
from backplane.sidecar.provider import Sidecar

__all__ = ["Sidecar", "SidecarError"]
