"""A site in the secure mode: an authority, a broker, services, and operators' files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import yaml

from backplane.testing import PKI, NatsServer
from examples.demo.fleet import Processes

SERVICES: Final = {"shop1": "DC1", "shop2": "DC2"}
"""Services of the application ``shop``, and where they are."""

FULL, READ_ONLY, NOBODY, FOREIGNER = "sre.choria", "1stline.choria", "eve.choria", "mallory.choria"
"""Operators: three with certificates of the site, and one with that of another."""

PKI_FOLDER: Final = "pki"


def identity(service: str) -> str:
    return f"{service}.example.net"


class Site(Processes):
    """Everything in one folder; paths in the files are those from there."""

    def __init__(self, folder: Path) -> None:
        pki = PKI(folder / PKI_FOLDER, "Demo CA")
        broker = pki.server("127.0.0.1")
        super().__init__(folder, NatsServer(config=pki.nats_config(broker)))
        self.pki = pki

    def make_certificates(self) -> None:
        """Issue certificates; who comes from elsewhere has one of another authority."""
        for name in (*map(identity, SERVICES), FULL, READ_ONLY, NOBODY):
            self.pki.client(name)
        elsewhere = PKI(self.folder / "elsewhere", "Other CA").client(FOREIGNER)
        for path in (elsewhere.cert, elsewhere.key):
            shutil.copy(path, self.folder / PKI_FOLDER)

    def write_files(self) -> None:
        """Write the configurations of services and operators."""
        for service, dc in SERVICES.items():
            text = yaml.safe_dump(self.document(service, dc), sort_keys=False)
            (self.folder / f"{service}.yaml").write_text(text)
        for operator in (FULL, READ_ONLY, NOBODY, FOREIGNER):
            (self.folder / f"{operator}.cfg").write_text(
                f"plugin.choria.middleware_hosts = {self.broker}\n"
                "plugin.security.provider = file\n"
                f"plugin.security.file.ca = {PKI_FOLDER}/demo-ca.pem\n"
                f"plugin.security.file.certificate = {PKI_FOLDER}/{operator}.pem\n"
                f"plugin.security.file.key = {PKI_FOLDER}/{operator}.key\n"
            )

    def document(self, service: str, dc: str) -> dict[str, Any]:
        return {
            "app": "demo:make",
            "dc": dc,
            "management": {
                "name": "shop",
                "identity": identity(service),
                "loglevel": "info",
                "brokers": [self.broker],
                "tls": {
                    "scheme": "file",
                    "ca": f"{PKI_FOLDER}/demo-ca.pem",
                    "cert": f"{PKI_FOLDER}/{identity(service)}.pem",
                    "key": f"{PKI_FOLDER}/{identity(service)}.key",
                },
                "auth": {"full": [FULL], "read_only": [READ_ONLY]},
                "audit": {"logfile": f"{service}.audit", "required": True},
            },
        }
