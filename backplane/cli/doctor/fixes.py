"""What to do about a connection to a broker that fails, by the reason that it failed for.

Pure.
"""

from __future__ import annotations

from typing import Final

from backplane.cli.doctor.party import Party

__all__ = ["connect_fix", "grant", "login_fix", "tls_fix"]

_CONNECT: Final = (
    ("refused", "start the broker there, or correct the address and port"),
    ("DNS lookup", "correct the name, or the name server of this machine"),
    ("timed out", "look for a firewall in between, or correct the address"),
    ("timeout", "look for a firewall in between, or correct the address"),
    ("unreachable", "look at the routes of this machine, or correct the address"),
    ("No route", "look at the routes of this machine, or correct the address"),
)

_TLS: Final = (
    (
        "authority is not in the CA file",
        (
            "put the authority of the broker's certificate into {ca}; is it an unknown one, ask "
            "who answers there"
        ),
    ),
    ("signed by itself", "give the broker a certificate of your authority"),
    (
        "no subjectAltName",
        (
            "give the broker a certificate with the name as subjectAltName; for the time until "
            "then: {legacy}"
        ),
    ),
    (
        "the broker's certificate is for",
        "use one of those names in {brokers}, or give the broker a certificate with this one",
    ),
    ("it has expired", "renew the broker's certificate"),
    ("not valid yet", "look at the clocks here and on the broker"),
    ("not for servers", "give the broker a certificate for servers (serverAuth)"),
    ("our certificate has expired", "renew {cert}"),
    ("our certificate was revoked", "get a new certificate"),
    ("our certificate is not for clients", "get a certificate for clients (clientAuth)"),
    (
        "does not know the authority of our certificate",
        "get a certificate from an authority in the broker's ca_file, or put yours there",
    ),
    (
        "rejected our certificate",
        (
            "the broker's log says why; often it does not know the authority of {cert}, "
            "or that has expired"
        ),
    ),
    (
        "does not take our certificate",
        "see what is said of it above; the broker's log says why it does not take it",
    ),
    ("wants a certificate of ours", "configure a certificate and a key"),
    (
        "none is configured",
        "{no_tls}",
    ),
    ("none are configured", "{no_tls}"),
    ("TLS first", "{first}"),
    ("not at once", "{first_off}"),
    (
        "does not speak TLS",
        "give the broker a tls section, or correct the port: this one is without TLS",
    ),
    ("closed by the broker in the TLS handshake", "the broker's log says why"),
    ("no version of TLS", "update the broker: TLS 1.2 is the oldest that is spoken"),
)


def connect_fix(text: str) -> str:
    """Return what to do when there is no connection at all."""
    return next(
        (fix for words, fix in _CONNECT if words in text), "look at the address and the network"
    )


def tls_fix(text: str, party: Party) -> str:
    """Return what to do about a TLS handshake that fails."""
    service = party.kind == "service"
    first = "management.tls.handshake_first:" if service else "plugin.backplane.handshake_first ="
    words = {
        "ca": party.files.ca if party.files is not None else "the CA file",
        "cert": party.files.cert if party.files is not None else "the certificate",
        "brokers": "management.brokers" if service else "plugin.choria.middleware_hosts",
        "legacy": "management.tls.support_legacy_certificates: true"
        if service
        else "plugin.security.support_legacy_certificates = true",
        "no_tls": "management.tls with scheme, ca, cert and key"
        if service
        else "leave --insecure out",
        "first": f"see what answers on this port; if the broker has handshake_first: {first} true",
        "first_off": f"{first} false, if the broker says INFO first"
        if party.tls_first
        else "look which program answers on this port",
    }
    for part, fix in _TLS:
        if part in text:
            return fix.format(**words)
    return "the broker's log has the other half of the reason"


def login_fix(text: str, party: Party) -> str:
    """Return what to do about a broker that does not let us in."""
    service = party.kind == "service"
    low = text.lower()
    if "authorization" in low or "authentication" in low:
        keys = "management.nats" if service else "plugin.nats.user and plugin.nats.pass"
        if party.login is not None:
            return f"renew what {' and '.join(party.login_files)} names, or let the broker know it"
        if party.user or party.token or any("@" in each for each in party.brokers):
            return f"correct {keys}, or the broker's list of users"
        if party.secure:
            return f"let the broker know this certificate's name (verify_and_map), or set {keys}"
        return f"set {keys}"
    if "our credentials cannot be used" in text:
        return "mend the file that is named there"
    if "PONG" in text:
        return "look at the load of the broker, or give it more time with --timeout"
    if "INFO" in text and party.secure and not party.tls_first:
        return tls_fix(text, party)
    if "not a NATS server" in text:
        return "correct the address: something else answers there"
    if "maximum connections" in low:
        return "raise max_connections in the broker"
    return "the broker's log has the other half of the reason"


def grant(subject: str, verb: str) -> str:
    """Return what to add to the permissions of the broker."""
    tokens = subject.split(".")
    if tokens[0] == "choria":
        wide = "choria.lifecycle.>"
    elif tokens[1] == "broadcast":
        wide = ".".join((*tokens[:3], ">"))
    else:
        wide = ".".join((*tokens[:2], ">"))
    return f'permissions in the broker: {verb}: ["{wide}"]'
