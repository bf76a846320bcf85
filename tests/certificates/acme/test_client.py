"""The client against Debian's pebble: account, order, challenges of each kind, certificate."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portway.certificates.acme.client import HTTP_01, TLS_ALPN_01, AcmeClient, Authorization, Order, certificate_id
from portway.certificates.acme.files import AcmeFiles
from portway.certificates.acme.pem import challenge_pem, new_key_pem, request_pem
from portway.certificates.certificate import parse_bundle
from portway.clock import wall
from tests.certificates.acme.kit import empty_source
from tests.kit.pebble import Answers, Pebble, challenge_answers, pebble


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    with challenge_answers(empty_source()) as answers:
        yield answers


@pytest.fixture(scope="module")
def ca(answers: Answers) -> Iterator[Pebble]:
    with pebble(http_port=answers.http_port, tls_port=answers.tls_port, PEBBLE_AUTHZREUSE="0") as ca:
        yield ca


def client_of(ca: Pebble, data: Path, email: str = "me@example.org") -> AcmeClient:
    return AcmeClient(AcmeFiles.for_ca(data, ca.directory), ca.directory, email=email, ca_file=ca.ca_file)


def until_settled(client: AcmeClient, url: str) -> Authorization:
    for _ in range(200):
        authorization = client.authorization(url)
        if authorization.status != "pending":
            return authorization
        time.sleep(0.05)
    raise AssertionError("the CA did not check the name")


def until_valid(client: AcmeClient, order: Order) -> Order:
    for _ in range(200):
        order = client.order(order.url)
        if order.status == "valid":
            return order
        time.sleep(0.05)
    raise AssertionError("no certificate")


@pytest.mark.parametrize("kind", [HTTP_01, TLS_ALPN_01])
def test_a_certificate_by_each_kind_of_challenge(ca: Pebble, answers: Answers, tmp_path: Path, kind: str) -> None:
    client, source, name = client_of(ca, tmp_path), empty_source(), f"{kind}.example.org"
    answers.source = source
    order = client.new_order((name,))
    authorization = client.authorization(order.authorizations[0])
    challenge = next(one for one in authorization.challenges if one.kind == kind)
    if kind == HTTP_01:
        source.set_http_challenge(name, challenge.token, challenge.key_authorization)
    else:
        source.set_alpn_challenge(name, challenge_pem(name, challenge.key_authorization))

    client.accept(challenge)
    assert until_settled(client, authorization.url).status == "valid"
    key = new_key_pem()
    order = client.finalize(client.order(order.url), request_pem(key, (name,)))
    issued = parse_bundle(client.download(until_valid(client, order)) + key)

    assert issued.names == (name,)
    assert "Pebble" in issued.issuer
    assert issued.not_before <= wall() < issued.not_after
    assert certificate_id(issued.pem)
