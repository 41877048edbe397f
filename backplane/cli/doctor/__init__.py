"""``backplane doctor``: whether a service or an operator would work, and what to do if not."""

from backplane.cli.doctor.command import doctor_command

__all__ = ["doctor_command"]
