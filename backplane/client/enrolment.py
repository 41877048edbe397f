"""From nothing to a certificate by a Puppet authority, and on from wherever it stopped.

What is there decides what is left to do: a key is never made twice, a request that
waits is not handed in again, a certificate that is good ends it at once. Files are
written when they are known to be good, the authority's after a server has proven to
be of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from backplane.client.accounting import ExitCode
from backplane.client.puppetca import AuthorityError, PuppetAuthority, Refused, Untrusted
from backplane.errors import ConfigError
from backplane.nats.backoff import Backoff
from backplane.security.chains import Authorities
from backplane.security.csr import (
    KEY_BITS,
    Request,
    is_request_of,
    make_request,
    new_key,
    private_pem,
    public_pem,
)
from backplane.security.issued import (
    Bundle,
    OtherKey,
    check_certificate,
    read_bundle,
)
from backplane.security.pemfiles import load_key_pair, mode_warning, read_key
from backplane.security.ssldir import SSLDir

__all__ = ["Enrolled", "Enrolment", "EnrolmentError", "Watcher"]

FIRST_LOOK: Final = 1.0
"""Seconds from the request to the second look for the certificate. An authority that
signs by itself has it at the first."""

LAST_LOOK: Final = 15.0
"""Longest time between two looks, in seconds: somebody waits at a terminal."""

_GROWTH: Final = 1.5


class EnrolmentError(Exception):
    """It cannot go on; one line for people, and the exit code."""

    def __init__(self, text: str, code: ExitCode) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


@attrs.frozen(kw_only=True)
class Enrolled:
    """The end.

    :ivar fresh: whether the certificate was stored now, rather than there before.
    """

    certificate: x509.Certificate
    fresh: bool


class Watcher:
    """Told how it goes on; override what is of interest."""

    def authority(self, bundle: Bundle, where: str, pinned: bool, known: bool) -> None:
        """These are the certificates of the authority, from an URL or a file.

        :param pinned: whether they are the ones that were asked for.
        :param known: whether they were stored before.
        """

    def key(self, path: str, fresh: bool) -> None:
        """This is the key, made now or there before."""

    def requested(self, request: Request, fresh: bool) -> None:
        """The request was handed in, now or before."""

    def waiting(self, since: float, left: float, problem: str | None) -> None:
        """There is no certificate yet.

        :param since: seconds since the request; ``left`` until the end of patience.
        :param problem: why the authority could not be asked, this time.
        """

    def warning(self, text: str) -> None:
        """Something is lawful, and hardly meant."""


class Enrolment:
    """One enrolment.

    :param name: the certificate name, one that :func:`~backplane.security.csr.check_name`
        takes.
    :param pin: fingerprint that the authority must have; ``None`` to take it on trust.
    :param wait: seconds to wait for the signature.
    :param now: Unix time.
    """

    def __init__(
        self,
        authority: PuppetAuthority,
        files: SSLDir,
        *,
        name: str,
        pin: str | None,
        wait: float,
        clock: IReactorTime,
        now: Callable[[], float],
        watcher: Watcher,
    ) -> None:
        self._authority = authority
        self._files = files
        self._name = name
        self._pin = pin
        self._wait = wait
        self._clock = clock
        self._now = now
        self._watcher = watcher
        self._clean = f"on the CA: puppetserver ca clean --certname {name}; then run this again"

    async def run(self) -> Enrolled:
        """Do what is left to do.

        :raises EnrolmentError: when it cannot be done.
        """
        files = self._files
        with self._local():
            own = files.read(files.cert)
            bundle = self._known_bundle()
            if own is not None and bundle is not None:
                return self._present(own, _with_lists(bundle, files.read(files.crl), files.crl))
        with self._remote(first=True):
            authorities = await self._meet(bundle)
        with self._local():
            if own is not None:
                return self._present(own, authorities)
            key = self._key()
            request = make_request(key, self._name)
            earlier = files.read(files.request) == request.pem
        with self._remote():
            pem = await self._authority.certificate(self._name)
            if pem is None:
                await self._submit(key, request, earlier)
                with self._local():
                    files.write(files.request, request.pem)
                pem = await self._signed()
        certificate, chain = self._checked(pem, authorities, key)
        with self._local():
            files.write(files.cert, chain)
            files.remove_request()
        return Enrolled(certificate=certificate, fresh=True)

    # What is there

    def _present(self, pem: bytes, authorities: Authorities) -> Enrolled:
        """Return the end, when the certificate that is there is good.

        :raises EnrolmentError: when it is not.
        """
        files = self._files
        again = f"move {files.cert} away and run this again"
        try:
            pair = load_key_pair(files.cert, files.key)
            certificate, _ = check_certificate(
                pem, authorities=authorities, name=self._name, key=pair.key, now=self._now()
            )
        except (ConfigError, ValueError) as error:
            text = f"the certificate that is there is not good: {_line(error)}; {again}"
            raise EnrolmentError(text, ExitCode.CREDENTIALS) from None
        self._look_at_mode()
        return Enrolled(certificate=certificate, fresh=False)

    def _known_bundle(self) -> Bundle | None:
        """Return what is stored of the authority; ``None`` when nothing is."""
        path = self._files.ca
        data = self._files.read(path)
        if data is None:
            return None
        bundle = read_bundle(data, path)
        if self._pin is not None:
            try:
                bundle.check_pin(self._pin)
            except ValueError as error:
                text = f"{path}: {error}; if the CA has changed, move the file away"
                raise EnrolmentError(text, ExitCode.STOPPED) from None
        self._watcher.authority(bundle, path, self._pin is not None, known=True)
        return bundle

    def _key(self) -> rsa.RSAPrivateKey:
        """Return the key that is there, or a new one that is there now."""
        files = self._files
        files.make()
        data = files.read(files.key)
        fresh = False
        if data is None:
            fresh = files.write_key(private_pem(new_key()))
            data = files.read(files.key) or b""  # that of whoever came first
        key = read_key(data, setting="", path=files.key)
        if key.key_size < KEY_BITS:
            raise EnrolmentError(
                f"{files.key}: a key of {key.key_size} bits, wanted {KEY_BITS} at least; move it "
                "away and run this again",
                ExitCode.CREDENTIALS,
            )
        files.write(files.public_key, public_pem(key))
        self._look_at_mode()
        self._watcher.key(files.key, fresh)
        return key

    def _look_at_mode(self) -> None:
        warning = mode_warning(self._files.key)
        if warning is not None:
            self._watcher.warning(warning)

    # What the authority has

    async def _meet(self, known: Bundle | None) -> Authorities:
        """Return who signs, once a server has proven to be of them."""
        url = self._authority.address("certificate/ca")
        bundle = known
        if bundle is None:
            bundle = await self._unknown_bundle(url)
        self._authority.trust(bundle.certificates)
        try:
            lists = await self._authority.lists()
        except Refused as error:
            lists = None
            self._watcher.warning(f"no revocation lists: {error}")
        source = self._authority.address("certificate_revocation_list/ca")
        authorities = _with_lists(bundle, lists, source)
        with self._local():
            self._files.make()
            if known is None:
                self._files.write(self._files.ca, bundle.pem)
            if lists is not None:
                self._files.write(self._files.crl, lists)
        return authorities

    async def _unknown_bundle(self, url: str) -> Bundle:
        bundle = read_bundle(await self._authority.bundle(), url)
        if self._pin is not None:
            try:
                bundle.check_pin(self._pin)
            except ValueError as error:
                text = f"{url}: this is not the CA that was asked for: {error}; nothing was sent"
                raise EnrolmentError(text, ExitCode.STOPPED) from None
        self._watcher.authority(bundle, url, self._pin is not None, known=False)
        return bundle

    async def _submit(self, key: rsa.RSAPrivateKey, request: Request, earlier: bool) -> None:
        """Hand the request in, unless it waits there already."""
        url = self._authority.address(f"certificate_request/{self._name}")
        told = True
        try:
            waiting = await self._authority.request(self._name)
        except Refused:
            waiting, told = None, False
        if waiting is not None:
            if not is_request_of(waiting, key):
                text = f"{url}: a request by another key waits there; {self._clean}"
                raise EnrolmentError(text, ExitCode.FAILED)
            self._watcher.requested(request, fresh=False)
            return
        try:
            await self._authority.submit(self._name, request.pem)
        except Refused as error:
            if not (earlier and not told and error.status == 400):
                text = f"{error}; if it has one of that name, {self._clean}"
                raise EnrolmentError(text, ExitCode.FAILED) from None
            # We have handed it in before, and may not see whether it is there.
            self._watcher.warning(f"{error}; waiting for the request that was sent before")
        self._watcher.requested(request, fresh=True)

    async def _signed(self) -> bytes:
        """Return the certificate, once it is there."""
        begun = self._clock.seconds()
        delays = Backoff(LAST_LOOK, FIRST_LOOK, factor=_GROWTH, jitter=0.0)
        problem: str | None = None
        while True:
            try:
                pem = await self._authority.certificate(self._name)
                problem = None
            except AuthorityError as error:
                if isinstance(error, Refused) and error.status < 500:
                    raise
                pem, problem = None, str(error)  # it may be starting anew
            if pem is not None:
                return pem
            since = self._clock.seconds() - begun
            left = self._wait - since
            if left <= 0:
                raise self._unsigned(problem)
            self._watcher.waiting(since, left, problem)
            await deferLater(self._clock, min(delays.get_delay(), left))

    def _unsigned(self, problem: str | None) -> EnrolmentError:
        if problem is not None:
            return EnrolmentError(f"{problem}; run this again to go on", ExitCode.UNREACHABLE)
        url = self._authority.address(f"certificate/{self._name}")
        late = f"within {self._wait:g} s" if self._wait else "yet"
        return EnrolmentError(
            f"{url}: not signed {late}; on the CA: puppetserver ca sign "
            f"--certname {self._name}; then run this again",
            ExitCode.NOBODY_ANSWERED,
        )

    def _checked(
        self, pem: bytes, authorities: Authorities, key: rsa.RSAPrivateKey
    ) -> tuple[x509.Certificate, bytes]:
        url = self._authority.address(f"certificate/{self._name}")
        try:
            return check_certificate(
                pem, authorities=authorities, name=self._name, key=key, now=self._now()
            )
        except OtherKey as error:
            text = f"{url}: {error} than {self._files.key}; {self._clean}"
            raise EnrolmentError(text, ExitCode.FAILED) from None
        except ValueError as error:
            text = f"{url}: the certificate cannot be used: {error}; {self._clean}"
            raise EnrolmentError(text, ExitCode.FAILED) from None

    # Whose fault it is

    @contextmanager
    def _local(self) -> Iterator[None]:
        try:
            yield
        except (ConfigError, ValueError) as error:
            raise EnrolmentError(_line(error), ExitCode.CREDENTIALS) from None

    @contextmanager
    def _remote(self, first: bool = False) -> Iterator[None]:
        try:
            yield
        except Refused as error:
            raise EnrolmentError(str(error), ExitCode.FAILED) from None
        except Untrusted as error:
            fix = f"if the CA has changed, move {self._files.ca} away"
            if not os.path.exists(self._files.ca):
                fix = "is that the CA's own server, and --ca its name?"
            raise EnrolmentError(f"{error}; {fix}", ExitCode.UNREACHABLE) from None
        except AuthorityError as error:
            fix = "give the CA with --ca HOST[:PORT]" if first else "run this again to go on"
            raise EnrolmentError(f"{error}; {fix}", ExitCode.UNREACHABLE) from None
        except (ConfigError, ValueError) as error:
            raise EnrolmentError(_line(error), ExitCode.FAILED) from None


def _with_lists(bundle: Bundle, lists: bytes | None, source: str) -> Authorities:
    """Return authorities that look into revocation lists, where there are any."""
    if lists is None:
        return bundle.authorities
    return Authorities.from_pem(bundle.pem, lists, crl_setting=source)


def _line(error: Exception) -> str:
    if isinstance(error, ConfigError):
        return "; ".join(map(str, error.problems))
    return str(error)
