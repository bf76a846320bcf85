"""A blocking client of one CA, for one thread: account, orders, authorizations, certificates, suggested renewal (RFC 8555, RFC 9773)."""

import base64
import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import requests
from acme import challenges, errors, messages
from cryptography import x509
from josepy.errors import Error as JoseError
from josepy.interfaces import JSONDeSerializable
from josepy.json_util import field as json_field
from josepy.jwk import JWK, JWKEC

from portway.certificates.acme.failures import OrderFailed, Scope
from portway.certificates.acme.files import Account, AcmeFiles
from portway.certificates.acme.network import Network, failure_of, problem_failure
from portway.config.files import read_secret
from portway.errors import ConfigError
from portway.telemetry.logs import get_log

T = TypeVar("T", bound=JSONDeSerializable)

HTTP_01, TLS_ALPN_01, DNS_01 = "http-01", "tls-alpn-01", "dns-01"

_HMAC_KEY = re.compile(r"[A-Za-z0-9_-]{8,1024}={0,2}")

log = get_log(__name__)


@challenges.ChallengeResponse.register
class TlsAlpn01Response(challenges.KeyAuthorizationChallengeResponse):
    """Response to TLS-ALPN-01, which acme 5 no longer has."""

    typ = TLS_ALPN_01


@challenges.Challenge.register
class TlsAlpn01(challenges.KeyAuthorizationChallenge):
    """TLS-ALPN-01 (RFC 8737)."""

    response_cls = TlsAlpn01Response
    typ = TLS_ALPN_01

    def validation(self, account_key: JWK, **_: Any) -> str:
        """Return the key authorization, whose hash the certificate contains."""
        return self.key_authorization(account_key)


class _NewOrder(messages.NewOrder):
    """An order that may replace a certificate: such orders are exempt from some limits (RFC 9773 section 5)."""

    replaces: str | None = json_field("replaces", omitempty=True)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to prove control of a name."""

    kind: str
    url: str
    token: str
    key_authorization: str
    dns_value: str
    """Content of the TXT record for DNS-01."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """The CA's check of one name."""

    url: str
    name: str
    """Without `*.`, also for a wildcard."""
    status: str
    challenges: tuple[Challenge, ...]
    failure: OrderFailed | None
    """Why the check failed, if it did."""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order at the CA."""

    url: str
    status: str
    authorizations: tuple[str, ...]
    finalize_url: str
    certificate_url: str
    failure: OrderFailed | None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """When the CA suggests to renew; seconds since 1970."""

    start: float
    end: float
    retry_after_s: float | None


@dataclass(frozen=True, slots=True)
class ExternalAccount:
    """Credentials that bind a new account to a customer of the CA (RFC 8555 section 7.3.4)."""

    key_id: str
    hmac_key: str = field(repr=False)
    """base64url."""


class AcmeClient:
    """A session with a CA. Every method blocks, and raises OrderFailed with the reason; ConfigError if a file cannot be used."""

    def __init__(
        self, files: AcmeFiles, directory_url: str, *, email: str, ca_file: Path | None = None, external: ExternalAccount | None = None
    ) -> None:
        """Neither connect nor read files yet."""
        self._files = files
        self._directory_url = directory_url
        self._email = email
        self._ca_file = ca_file
        self._external = external
        self._key: JWK
        self._network: Network
        self._directory: messages.Directory | None = None

    def log_in(self) -> None:
        """Read the directory, and find or create the account, once."""
        if self._directory is not None:
            return
        self._key = JWKEC.load(self._files.account_key())
        self._network = Network(self._key, None if self._ca_file is None else str(self._ca_file))
        try:
            directory = messages.Directory.from_json(self._network.get(self._directory_url).json())
            for resource in ("newNonce", "newAccount", "newOrder"):
                directory[resource]
        except (KeyError, ValueError, TypeError, AttributeError, JoseError) as exc:
            raise OrderFailed(Scope.CA, f"{self._directory_url} is not the directory of an ACME CA: {exc}") from exc
        saved = self._files.account()
        if saved is None or saved.email != self._email:
            try:
                saved = self._register(directory)
            except OrderFailed as failed:
                scope = Scope.LIMIT if failed.scope is Scope.LIMIT else Scope.CA
                problem = failed.__cause__
                known = isinstance(problem, messages.Error) and problem.code == "unauthorized"
                reason = str(problem.detail) if known and isinstance(problem, messages.Error) else str(failed)
                raise OrderFailed(scope, f"no account at the CA: {reason}", failed.retry_after_s) from failed
            self._files.save_account(saved)
        self._network.account = messages.RegistrationResource(uri=saved.uri, body=messages.Registration())
        self._directory = directory

    def _register(self, directory: messages.Directory) -> Account:
        """Create the account, or find the one that a killed server created with this key; set its address."""
        binding = None
        if self._external is not None:
            binding = messages.ExternalAccountBinding.from_data(
                self._key.public_key(), self._external.key_id, self._external.hmac_key, directory
            )
        new = messages.NewRegistration.from_data(email=self._email, terms_of_service_agreed=True, external_account_binding=binding)
        reply = self._network.post(directory["newAccount"], new, new_nonce_url=directory["newNonce"])
        uri = reply.headers.get("Location")
        if not uri:
            raise OrderFailed(Scope.CA, "unexpected response of the CA: an account without Location")
        if reply.status_code == requests.codes.ok:
            self._network.account = messages.RegistrationResource(uri=uri, body=messages.Registration())
            contact = messages.UpdateRegistration.from_data(email=self._email)
            self._network.post(uri, contact, new_nonce_url=directory["newNonce"])
        return Account(uri, self._directory_url, self._email)

    @property
    def account_uri(self) -> str:
        """Return the account's URI, which CAA records may name (RFC 8657); empty before `log_in`."""
        account = None if self._directory is None else self._network.account
        return "" if account is None else str(account.uri)

    @property
    def offers_renewal_info(self) -> bool:
        """Return whether the CA suggests times of renewal; False before `log_in`."""
        return self._has("renewalInfo")

    def new_order(self, names: tuple[str, ...], replaces: str | None = None) -> Order:
        """Create an order, or get the pending one that the CA has for the same names."""
        self.log_in()
        identifiers = [messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name) for name in names]
        url = self._resource("newOrder")
        try:
            reply = self._post(url, _NewOrder(identifiers=identifiers, replaces=replaces if self.offers_renewal_info else None))
        except OrderFailed as failed:
            if replaces is None or failed.scope is not Scope.NAME:
                raise
            # The certificate is another CA's, or was replaced already; then the order is like that for a new name.
            reply = self._post(url, _NewOrder(identifiers=identifiers))
        return self._order_of(reply, reply.headers.get("Location", ""))

    def order(self, url: str) -> Order:
        """Read an order again."""
        return self._order_of(self._post(url, None), url)

    def authorization(self, url: str) -> Authorization:
        """Read an authorization, with its challenges."""
        reply = self._post(url, None)
        body = self._read(messages.Authorization, reply)
        failure = None
        for one in body.challenges:
            if one.error is not None:
                failure = problem_failure(one.error)
        known = tuple(self._challenge_of(one) for one in body.challenges if isinstance(one.chall, challenges.KeyAuthorizationChallenge))
        name = str(body.identifier.value).lower()
        return Authorization(url, name, body.status.name, known, failure, self._network.retry_after_s)

    def accept(self, challenge: Challenge) -> None:
        """Let the CA check a challenge that is answered from now on."""
        self._post(challenge.url, challenges.HTTP01Response(key_authorization=""))  # an empty object, for each kind

    def finalize(self, order: Order, csr_pem: bytes) -> Order:
        """Request the certificate of an order whose names were all checked."""
        reply = self._post(order.finalize_url, messages.CertificateRequest(csr=x509.load_pem_x509_csr(csr_pem)))
        return self._order_of(reply, order.url)

    def download(self, order: Order) -> bytes:
        """Return the certificate chain of a valid order as PEM."""
        return self._post(order.certificate_url, None).content

    def renewal_window(self, chain_pem: bytes) -> Window | None:
        """Return when the CA suggests to renew a certificate; None if it makes no suggestions (RFC 9773 section 4)."""
        self.log_in()
        if not self.offers_renewal_info or (identifier := certificate_id(chain_pem)) is None:
            return None
        reply = self._network.get(f"{str(self._resource('renewalInfo')).rstrip('/')}/{identifier}")
        window = self._read(messages.RenewalInfo, reply).suggested_window
        return Window(_seconds(window.start), _seconds(window.end), self._network.retry_after_s)

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        if self._directory is not None:
            self._network.session.close()
            self._directory = None

    def _has(self, resource: str) -> bool:
        return self._directory is not None and resource in self._directory.to_partial_json()

    def _resource(self, resource: str) -> str:
        assert self._directory is not None  # noqa: S101 - set by log_in
        return str(self._directory[resource])

    def _post(self, url: str, body: JSONDeSerializable | None) -> requests.Response:
        self.log_in()
        try:
            return self._network.post(url, body, new_nonce_url=self._resource("newNonce"))
        except errors.ConflictError as exc:
            raise failure_of(exc) from exc
        except OrderFailed as failed:
            if isinstance(failed.__cause__, messages.Error) and failed.__cause__.code == "accountDoesNotExist":
                self._forget_account()
            elif failed.scope is Scope.CA:
                self.close()  # the next request reads the directory again: it may have moved
            raise

    def _forget_account(self) -> None:
        """Create the account again at the next attempt: a test CA forgets its accounts, others may delete one that was deactivated."""
        log.warning("account unknown to the CA, created again at the next attempt", directory=self._directory_url)
        self._files.save_account(Account("", self._directory_url, "\0"))
        self.close()

    def _read(self, kind: type[T], reply: requests.Response) -> Any:
        try:
            return kind.from_json(reply.json())
        except (ValueError, TypeError, AttributeError, JoseError) as exc:
            raise OrderFailed(Scope.CA, f"unexpected response of the CA: {exc}") from exc

    def _order_of(self, reply: requests.Response, url: str) -> Order:
        body = self._read(messages.Order, reply)
        failure = None if body.error is None else problem_failure(body.error)
        urls = tuple(map(str, body.authorizations or ()))
        return Order(url, body.status.name, urls, body.finalize or "", body.certificate or "", failure, self._network.retry_after_s)

    def _challenge_of(self, body: messages.ChallengeBody) -> Challenge:
        chall = body.chall
        key_authorization = chall.key_authorization(self._key)
        dns_value = challenges.DNS01(token=chall.token).validation(self._key)
        return Challenge(chall.typ, body.uri, chall.encode("token"), key_authorization, dns_value)


def certificate_id(chain_pem: bytes) -> str | None:
    """Return a certificate's id in renewal requests (RFC 9773 section 4.1); None without an authority key identifier."""
    leaf = x509.load_pem_x509_certificates(chain_pem)[0]
    try:
        authority = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
    if authority is None:
        return None
    serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big")  # with the sign bit of DER
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (authority, serial))


def read_external_account(path: Path) -> ExternalAccount:
    """Read the key id and the HMAC key of an external account: two words in a file.

    Raises:
        ConfigError: the file is missing, readable by others, or has another content.
    """
    content = read_secret(path, follow=True)
    if content is None:
        raise ConfigError(f"acme_eab: {path} does not exist")
    words = content.decode("utf-8", "replace").split()
    if len(words) != 2 or not words[0].isascii() or not words[0].isprintable() or not _HMAC_KEY.fullmatch(words[1]):
        raise ConfigError(f"acme_eab: {path}: expected two words, the key id and the HMAC key (base64url) that the CA gave you")
    return ExternalAccount(*words)


def _seconds(moment: dt.datetime | Mapping[str, Any]) -> float:
    if not isinstance(moment, dt.datetime):
        raise OrderFailed(Scope.CA, "unexpected response of the CA: a renewal window without dates")
    return moment.timestamp()
