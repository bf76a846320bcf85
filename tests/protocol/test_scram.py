"""SCRAM-SHA-256: the RFC's own exchange, and every way to forge one."""

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import MisuseError, PeerError, RefusedError
from portway.protocol.scram import (
    ITERATIONS_MAX,
    ScramClient,
    ScramServer,
    ScramVerifier,
    certificate_binding,
    decoy_verifier,
    fresh_nonce,
    make_verifier,
)

SECRET = "s3cret-of-the-laptop-0123456789"
BINDING = certificate_binding(b"the server's certificate")
VERIFIER = make_verifier(SECRET, b"0123456789abcdef")


def client(secret: str = SECRET, nonce: str = "client-nonce", binding: bytes | None = BINDING) -> ScramClient:
    return ScramClient("laptop", secret, nonce, binding)


def server(nonce: str = "server-nonce", binding: bytes | None = BINDING) -> ScramServer:
    return ScramServer(nonce, binding)


def converse(agent: ScramClient, edge: ScramServer, verifier: ScramVerifier = VERIFIER) -> None:
    agent.verify(edge.finish(agent.respond(edge.challenge(agent.first(), verifier))))


def test_the_conversation_of_rfc_7677() -> None:
    agent = ScramClient("user", "pencil", "rOprNGfwEbeRWgbNEkqO", None)
    edge = ScramServer("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", None)
    verifier = make_verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)

    first = agent.first()
    challenge = edge.challenge(first, verifier)
    final = agent.respond(challenge)
    signature = edge.finish(final)
    agent.verify(signature)

    assert first == "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert challenge == "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    assert final == ("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    assert signature == "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize("binding", [BINDING, None], ids=["tls", "plain"])
def test_both_ends_get_the_same_key_and_no_other_exchange_gets_it(binding: bytes | None) -> None:
    keys = set()
    for number in range(3):
        agent, edge = client(nonce=f"c{number}", binding=binding), server(nonce=f"s{number}", binding=binding)
        converse(agent, edge)
        assert agent.session_key == edge.session_key
        keys.add(agent.session_key)
    assert len(keys) == 3
    assert {len(key) for key in keys} == {32}


def test_the_session_key_is_the_documented_one() -> None:
    agent, edge = client(), server()
    first = agent.first()
    challenge = edge.challenge(first, VERIFIER)
    final = agent.respond(challenge)
    agent.verify(edge.finish(final))

    about = ",".join([first.removeprefix("p=tls-server-end-point,,"), challenge, final.rpartition(",p=")[0]]).encode()
    salted = hashlib.pbkdf2_hmac("sha256", SECRET.encode(), VERIFIER.salt, VERIFIER.iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    assert agent.session_key == hmac.digest(client_key, b"portway session" + about, "sha256")
    assert client_key not in (VERIFIER.stored_key, VERIFIER.server_key)


@given(
    secret=st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=64),
    seed=st.binary(min_size=24, max_size=24),
)
def test_any_secret_and_nonce_get_through(secret: str, seed: bytes) -> None:
    nonce = fresh_nonce(lambda size: seed[:size])
    agent, edge = ScramClient("a.b_c-9", secret, nonce, BINDING), ScramServer(nonce[::-1], BINDING)
    converse(agent, edge, make_verifier(secret, seed))
    assert agent.session_key == edge.session_key


def test_the_server_names_the_user_of_the_first_message() -> None:
    assert ScramServer.user_of(client().first()) == "laptop"
    assert ScramServer.user_of(client(binding=None).first()) == "laptop"


def refusal(agent: ScramClient, edge: ScramServer, verifier: ScramVerifier = VERIFIER) -> RefusedError:
    answer = agent.respond(edge.challenge(agent.first(), verifier))
    with pytest.raises(RefusedError) as caught:
        edge.finish(answer)
    with pytest.raises(MisuseError):
        _ = edge.session_key
    return caught.value


def test_a_wrong_secret_is_refused() -> None:
    assert refusal(client(secret="another-secret"), server()).code == "bad_credentials"


def test_a_man_in_the_middle_with_another_certificate_is_refused() -> None:
    assert refusal(client(binding=certificate_binding(b"his certificate")), server()).code == "bad_credentials"


def test_an_unknown_user_looks_exactly_like_a_wrong_secret() -> None:
    decoy = decoy_verifier(b"seed of this server", "nobody")
    assert str(refusal(client(), server(), decoy)) == str(refusal(client(secret="wrong"), server()))
    assert str(refusal(client(), server(), decoy)) == str(refusal(client(binding=bytes(32)), server()))
    assert (decoy.iterations, len(decoy.salt)) == (VERIFIER.iterations, len(VERIFIER.salt))


def test_an_unknown_user_always_has_the_same_salt_of_its_own() -> None:
    assert decoy_verifier(b"seed", "nobody") == decoy_verifier(b"seed", "nobody")
    assert len({decoy_verifier(seed, user).salt for seed in (b"1", b"2") for user in ("a", "b")}) == 4


def test_a_recorded_reply_is_useless_for_a_new_nonce() -> None:
    agent, edge = client(), server()
    recorded_first = agent.first()
    recorded_final = agent.respond(edge.challenge(recorded_first, VERIFIER))
    edge.finish(recorded_final)

    later = server(nonce="another-nonce")
    later.challenge(recorded_first, VERIFIER)
    with pytest.raises(RefusedError, match="bad_credentials"):
        later.finish(recorded_final)


def test_a_recorded_proof_under_the_new_nonce_is_worth_nothing_either() -> None:
    agent, edge = client(), server()
    recorded_first = agent.first()
    recorded_final = agent.respond(edge.challenge(recorded_first, VERIFIER))

    later = server(nonce="another-nonce")
    later.challenge(recorded_first, VERIFIER)
    with pytest.raises(RefusedError, match="bad_credentials"):
        later.finish(recorded_final.replace("server-nonce", "another-nonce"))


def test_one_challenge_accepts_one_reply() -> None:
    agent, edge = client(), server()
    answer = agent.respond(edge.challenge(agent.first(), VERIFIER))
    edge.finish(answer)
    with pytest.raises(MisuseError):
        edge.finish(answer)


def test_a_wrong_reply_uses_up_the_challenge() -> None:
    agent, edge = client(), server()
    answer = agent.respond(edge.challenge(agent.first(), VERIFIER))
    with pytest.raises(RefusedError):
        edge.finish(re.sub(r"p=.*", f"p={base64.b64encode(bytes(32)).decode()}", answer))
    with pytest.raises(MisuseError):
        edge.finish(answer)


def test_a_right_proof_over_a_nonce_of_ones_own_choice_is_refused() -> None:
    """The proof covers any nonce that the client names, so the nonce is compared separately."""
    first, edge = client().first(), server()
    challenge = edge.challenge(first, VERIFIER)
    binding = base64.b64encode(b"p=tls-server-end-point,," + BINDING).decode()

    def final(nonce: str) -> str:
        unsigned = f"c={binding},r={nonce}"
        about = ",".join([first.removeprefix("p=tls-server-end-point,,"), challenge, unsigned]).encode()
        salted = hashlib.pbkdf2_hmac("sha256", SECRET.encode(), VERIFIER.salt, VERIFIER.iterations)
        signature = hmac.digest(VERIFIER.stored_key, about, "sha256")
        proof = bytes(a ^ b for a, b in zip(hmac.digest(salted, b"Client Key", "sha256"), signature, strict=True))
        return f"{unsigned},p={base64.b64encode(proof).decode()}"

    with pytest.raises(RefusedError):
        edge.finish(final("client-nonce-and-my-own"))
    again = server()
    assert again.challenge(first, VERIFIER) == challenge
    assert again.finish(final("client-nonceserver-nonce")).startswith("v=")


def test_a_right_proof_over_a_wrong_binding_is_refused() -> None:
    """The proof covers any binding that the client names, so the binding is compared separately."""
    first, edge = "p=tls-server-end-point,,n=laptop,r=client-nonce", server()
    challenge = edge.challenge(first, VERIFIER)
    lying = client(binding=certificate_binding(b"his certificate"))
    assert lying.first() == first
    with pytest.raises(RefusedError):
        edge.finish(lying.respond(challenge))


def test_a_server_that_does_not_know_the_verifier_is_detected() -> None:
    agent, edge = client(), server()
    edge.finish(agent.respond(edge.challenge(agent.first(), VERIFIER)))
    with pytest.raises(RefusedError, match="could not prove"):
        agent.verify(f"v={base64.b64encode(bytes(32)).decode()}")
    with pytest.raises(MisuseError):
        _ = agent.session_key


def test_the_servers_proof_of_another_conversation_is_found_out() -> None:
    agent, edge = client(nonce="older"), server(nonce="older")
    recorded = edge.finish(agent.respond(edge.challenge(agent.first(), VERIFIER)))
    now = client()
    now.respond(server().challenge(now.first(), VERIFIER))
    with pytest.raises(RefusedError, match="could not prove"):
        now.verify(recorded)


@pytest.mark.parametrize(("agent", "edge", "reason"), [(BINDING, None, "a TLS link"), (None, BINDING, "a plain link")])
def test_the_two_ends_must_agree_whether_there_is_tls(agent: bytes | None, edge: bytes | None, reason: str) -> None:
    with pytest.raises(RefusedError, match=f"the agent's login is for {reason}"):
        server(binding=edge).challenge(client(binding=agent).first(), VERIFIER)


@pytest.mark.parametrize(
    "challenge",
    [
        "r=client-nonce,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096",  # nothing of the server's own in the nonce
        "r=other-nonce-more,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096",
        "r=client-nonce-more,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4095",
        "r=client-nonce-more,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=1",
        f"r=client-nonce-more,s=MDEyMzQ1Njc4OWFiY2RlZg==,i={ITERATIONS_MAX + 1}",
        "r=client-nonce-more,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=9999999999999",
        "r=client-nonce-more,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4_096",
        "r=client-nonce-more,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=+4096",
        "r=client-nonce-more,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=٤٠٩٦",
        "r=client-nonce-more,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096,x=extension",
        "m=mandatory,r=client-nonce-more,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096",
        "r=client-nonce-more,s=MDEyMzQ1Njc4OWFiY2RlZg=,i=4096",
        "r=client-nonce-more,s=MDEyMzQ1Njc4OWFiY2RlZh==,i=4096",  # another spelling of the same bytes
        "r=client-nonce-more,s=,i=4096",
        "r=client-nonce-more,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096\n",
        "r=client-nonce more,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096",
        "e=other-error",
        "",
    ],
)
def test_a_broken_challenge_is_the_servers_fault(challenge: str) -> None:
    with pytest.raises(PeerError):
        client().respond(challenge)


@pytest.mark.parametrize(
    "first",
    [
        "",
        "n=laptop,r=nonce",
        "y,,n=laptop,r=nonce",
        "n,a=root,n=laptop,r=nonce",
        "p=tls-unique,,n=laptop,r=nonce",
        "n,,n=,r=nonce",
        "n,,n=lap=2Ctop,r=nonce",
        "n,,n=läptop,r=nonce",
        "n,,n=laptop,r=",
        "n,,n=laptop,r=no,nce",
        "n,,m=x,n=laptop,r=nonce",
        "n,,n=laptop,r=nonce,x=y",
        f"n,,n={'x' * 65},r=nonce",
        f"n,,n=laptop,r={'x' * 257}",
        "n,,n=laptop,r=nonce\n",
    ],
)
def test_a_broken_first_message_is_the_clients_fault(first: str) -> None:
    with pytest.raises(PeerError):
        ScramServer.user_of(first)
    with pytest.raises(PeerError):
        server(binding=None).challenge(first, VERIFIER)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda final: "",
        lambda final: final.rpartition(",p=")[0],
        lambda final: final + ",x=y",
        lambda final: final.replace("c=", "c=*"),
        lambda final: final[:-1],
        lambda final: final.replace(",p=", ",p=AAAA"),
        lambda final: final + "\n",
        lambda final: re.sub(r"c=[^,]*", "c=biwt=", final),
    ],
)
def test_a_broken_final_message_is_the_clients_fault(spoil: Callable[[str], str]) -> None:
    agent, edge = client(), server()
    final = agent.respond(edge.challenge(agent.first(), VERIFIER))
    with pytest.raises(PeerError):
        edge.finish(spoil(final))


@given(noise=st.text(max_size=120) | st.text("nprcsvie=,+/AZaz09-", max_size=120))
def test_noise_is_a_peer_error_on_both_sides(noise: str) -> None:
    with pytest.raises(PeerError):
        ScramServer.user_of(noise)
    agent = client()
    with pytest.raises(PeerError):
        agent.respond(noise)
    challenge = server()
    agent.respond(challenge.challenge(agent.first(), VERIFIER))
    with pytest.raises(PeerError):
        challenge.finish(noise)
    with pytest.raises(PeerError):
        agent.verify(noise)


@given(data=st.data())
def test_no_changed_character_leads_to_a_login(data: st.DataObject) -> None:
    agent, edge = client(), server()
    final = agent.respond(edge.challenge(agent.first(), VERIFIER))
    place = data.draw(st.integers(0, len(final) - 1))
    other = data.draw(st.characters(codec="ascii", exclude_categories=["C"]).filter(lambda char: char != final[place]))
    with pytest.raises((PeerError, RefusedError)):
        edge.finish(final[:place] + other + final[place + 1 :])


def test_steps_out_of_order_are_our_own_bug() -> None:
    with pytest.raises(MisuseError):
        client().verify("v=")
    with pytest.raises(MisuseError):
        server().finish("c=")
    agent, edge = client(), server()
    challenge = edge.challenge(agent.first(), VERIFIER)
    agent.respond(challenge)
    with pytest.raises(MisuseError):
        agent.respond(challenge)
    with pytest.raises(MisuseError):
        edge.challenge(agent.first(), VERIFIER)
    with pytest.raises(MisuseError):
        _ = agent.session_key


@pytest.mark.parametrize(
    ("user", "nonce", "binding"), [("a,b", "n", None), ("", "n", None), ("a", "n,o", None), ("a", "", None), ("a", "n", b"x")]
)
def test_parts_that_cannot_travel_are_our_own_bug(user: str, nonce: str, binding: bytes | None) -> None:
    with pytest.raises(MisuseError):
        ScramClient(user, SECRET, nonce, binding)
    if user == "a":
        with pytest.raises(MisuseError):
            ScramServer(nonce, binding)


def test_nothing_that_is_printed_helps_a_thief() -> None:
    verifier = make_verifier(SECRET, b"0123456789abcdef")
    assert "stored_key" not in repr(verifier)
    assert SECRET not in repr(client())
    assert SECRET not in str(refusal(client(secret="another-secret"), server()))


def test_nonces_are_fresh_and_long() -> None:
    assert len({fresh_nonce(os.urandom) for _ in range(100)}) == 100
    assert all(len(fresh_nonce(os.urandom)) == 32 and "," not in fresh_nonce(os.urandom) for _ in range(100))
