"""The whole inspector: a real server, agent and origin; what visitors did is listed, searched, replayed and exported."""

import hashlib
import json
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from portway.config.values import ListenAddress
from portway.errors import ConfigError
from portway.inspector.service import allowed_hosts, key_file, listen
from tests.kit.http_origin import HttpOrigin
from tests.kit.inspected import Inspected, RecordingOrigin, inspected
from tests.kit.origins import RawOrigin, echo
from tests.kit.pair import http_tunnel, tcp_tunnel
from tests.kit.sockets import free_port
from tests.kit.streams import stream_hash

CANARY = "CANARY7f3a91d2"


def test_requests_are_listed_newest_first_with_their_details(tmp_path: Path) -> None:
    with RecordingOrigin() as origin, inspected(tmp_path, origin.port) as world:
        for number in range(3):
            assert world.visit("POST", f"/order/{number}?page={number}", f"item={number}").body == b"hello"

        found = world.requests(3)
        assert [one["target"] for one in found] == ["/order/2?page=2", "/order/1?page=1", "/order/0?page=0"]
        detail = world.detail(found[0]["id"])

        assert (detail["method"], detail["status"], detail["tunnel"], detail["kind"]) == ("POST", 200, "app", "http")
        assert (detail["request"]["body"]["text"], detail["response"]["body"]["text"]) == ("item=2", "hello")
        assert detail["client"] == "127.0.0.1"
        assert {"link_ms", "edge_ms", "send_ms", "first_byte_ms", "transfer_ms"} <= detail["timings"].keys()
        assert all(value >= 0 for value in detail["timings"].values())
        assert {name for name, _ in detail["request"]["headers"]} >= {"Host", "X-Forwarded-For"}


def test_pages_follow_each_other(tmp_path: Path) -> None:
    with RecordingOrigin() as origin, inspected(tmp_path, origin.port) as world:
        for number in range(5):
            world.visit(path=f"/{number}")
        world.requests(5)

        first = world.api("GET", "/api/requests?limit=2").json
        second = world.api("GET", f"/api/requests?limit=2&before={first['next']}").json
        third = world.api("GET", f"/api/requests?limit=2&before={second['next']}").json

        assert [one["target"] for page in (first, second, third) for one in page["requests"]] == ["/4", "/3", "/2", "/1", "/0"]
        assert third["next"] is None


def test_a_large_download_and_upload_pass_unchanged(tmp_path: Path) -> None:
    size = 40_000_000
    with HttpOrigin() as origin, inspected(tmp_path, origin.port, body_bytes_max=1000) as world:
        for path in (f"/bytes?n={size}", f"/chunked?n={size}"):
            assert hashlib.sha256(world.visit(path=path).body).hexdigest() == stream_hash(size)
        data = bytes(range(256)) * 40_000
        assert world.visit("PUT", "/sink", data).json["sha256"] == hashlib.sha256(data).hexdigest()

        upload, chunked, plain = world.requests(3)
        assert (plain["response_bytes"], chunked["response_bytes"], upload["request_bytes"]) == (size, size, len(data))
        for one, side in ((plain, "response"), (chunked, "response"), (upload, "request")):
            body = world.detail(one["id"])[side]["body"]
            assert (body["stored"], body["state"]) == (1000, "truncated")


def test_a_secret_is_in_no_sink_wherever_it_rides(tmp_path: Path) -> None:
    with RecordingOrigin() as origin, inspected(tmp_path, origin.port, redact=("x-internal-*",)) as world:
        origin.response = (
            f'HTTP/1.1 200 OK\r\nSet-Cookie: sid={CANARY}; HttpOnly\r\nLocation: /reset/{CANARY}?token={CANARY}\r\n'
            f'Content-Type: application/json\r\nContent-Length: {len(CANARY) + 19}\r\n\r\n{{"access_token":"{CANARY}"}}'
        ).encode()  # fmt: skip
        headers = {
            "Authorization": f"Bearer {CANARY}",
            "Cookie": f"sid={CANARY}; theme=dark",
            "X-Api-Key": CANARY,
            "X-Internal-Id": CANARY,
            "Referer": f"https://shop.example.org/reset/{CANARY}?api_key={CANARY}",
        }
        world.visit(path=f"/reset/{CANARY}?token={CANARY}&page=1", headers=headers)
        world.visit("POST", "/login", f"user=ann&password={CANARY}", {"Content-Type": "application/x-www-form-urlencoded"})
        world.visit("POST", "/login", json.dumps({"user": "ann", "password": CANARY}), {"Content-Type": "application/json"})
        world.visit("POST", "/login", f'--b\r\nContent-Disposition: form-data; name="password"\r\n\r\n{CANARY}\r\n--b--\r\n'.encode(),
                    {"Content-Type": "multipart/form-data; boundary=b"})  # fmt: skip
        found = world.requests(4)

        outputs = [world.api("GET", path).body for path in ("/api/requests", "/api/har", "/api/status", f"/api/requests?q={CANARY}")]
        outputs += [world.api("GET", f"/api/requests/{one['id']}{rest}").body for one in found for rest in ("", "/har", "/body/response")]
        canary = CANARY.encode()

        assert [request.count(canary) for request in origin.requests] == [8, 1, 1, 1], "the origin gets them"
        assert [output for output in outputs if canary in output] == []
        assert canary not in world.database()
        assert all(one["redacted"] for one in found)


def test_no_redact_stores_everything(tmp_path: Path) -> None:
    with RecordingOrigin() as origin, inspected(tmp_path, origin.port, redacts=False) as world:
        world.visit(path=f"/?token={CANARY}", headers={"Authorization": f"Bearer {CANARY}"})

        (one,) = world.requests()
        assert one["target"] == f"/?token={CANARY}"
        assert ["Authorization", f"Bearer {CANARY}"] in world.detail(one["id"])["request"]["headers"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_replay_in_the_same_run_arrives_byte_equal(tmp_path: Path, *, chunked: bool) -> None:
    with RecordingOrigin() as origin, inspected(tmp_path, origin.port) as world:
        body = f'{{"password": "{CANARY}", "data": "{"x" * 100}"}}'.encode()
        pieces = iter([body[:30], body[30:]]) if chunked else body
        world.visit("POST", f"/pay?token={CANARY}", pieces, {"Content-Type": "application/json", "Authorization": f"Basic {CANARY}"})
        (original,) = world.requests()

        outcome = world.api("POST", f"/api/requests/{original['id']}/replay").json

        assert (outcome["status"], outcome["error"]) == (200, "")
        assert origin.requests[0] == origin.requests[1]
        assert CANARY.encode() in origin.requests[1]
        assert world.detail(outcome["id"])["replay_of"] == original["id"]
        assert world.detail(original["id"])["replays"] == [outcome["id"]]


def test_edits_change_only_what_they_name(tmp_path: Path) -> None:
    with RecordingOrigin() as origin, RecordingOrigin() as other, inspected(tmp_path, origin.port) as world:
        world.visit("POST", "/pay", b"a=1", {"X-One": "1", "X-Two": "2"})
        (original,) = world.requests()
        replay = f"/api/requests/{original['id']}/replay"

        assert world.api("POST", replay, {"method": "PUT", "target": "/new?x=1"}).status == 200
        assert world.api("POST", replay, {"headers": {"x-one": "changed", "X-Two": None, "X-Three": "3"}}).status == 200
        assert world.api("POST", replay, {"body": "much longer"}).status == 200
        assert world.api("POST", replay, {"to": f"http://127.0.0.1:{other.port}"}).status == 200

        first = origin.requests[0]
        assert origin.requests[1] == first.replace(b"POST /pay HTTP", b"PUT /new?x=1 HTTP")
        assert b"\r\nx-one: changed\r\n" in origin.requests[2]
        assert b"X-Two" not in origin.requests[2]
        assert b"\r\nX-Three: 3\r\n" in origin.requests[2]
        assert origin.requests[3].endswith(b"Content-Length: 11\r\n\r\nmuch longer")
        assert other.requests == [first.replace(f"Host: {world.host}".encode(), f"Host: 127.0.0.1:{other.port}".encode(), 1)]


def test_after_a_restart_captures_are_there_and_a_replay_names_what_is_missing(tmp_path: Path) -> None:
    with RecordingOrigin() as origin:
        tunnel = http_tunnel(origin.port, name="app")
        with Inspected(tmp_path, tunnel) as world:
            world.visit("POST", f"/pay?token={CANARY}", b"a=1", {"X-Api-Key": CANARY})
            world.visit("POST", "/plain", b"a=1")
            world.requests(2)
        with Inspected(tmp_path, tunnel) as world:
            plain, secret = world.requests(2)
            replay = f"/api/requests/{secret['id']}/replay"

            refused = world.api("POST", replay)
            partly = world.api("POST", replay, {"headers": {"X-Api-Key": "new"}})
            given = world.api("POST", replay, {"headers": {"X-Api-Key": "new"}, "target": "/pay?token=new"})
            same = world.api("POST", f"/api/requests/{plain['id']}/replay")

            assert (refused.status, refused.json["error"]["code"]) == (409, "redacted")
            assert "query token, header X-Api-Key" in refused.json["error"]["message"]
            assert "X-Api-Key" not in partly.json["error"]["message"]
            assert (given.json["status"], same.json["status"]) == (200, 200)
            assert origin.requests[2] == origin.requests[0].replace(CANARY.encode(), b"new")
            assert origin.requests[3] == origin.requests[1]


def test_an_origin_that_refuses_is_shown_and_a_replay_to_it_as_well(tmp_path: Path) -> None:
    with inspected(tmp_path, free_port()) as world:
        assert world.visit(path="/x").status == 502

        (one,) = world.requests()
        assert (one["target"], one["status"], one["state"]) == ("/x", 502, "broken")
        assert "refused" in one["error"]
        outcome = world.api("POST", f"/api/requests/{one['id']}/replay").json
        assert (outcome["status"], "refused" in outcome["error"]) == (0, True)


def test_a_response_that_breaks_off_is_shown_as_broken(tmp_path: Path) -> None:
    with HttpOrigin() as origin, inspected(tmp_path, origin.port) as world:
        with pytest.raises(Exception, match=r"IncompleteRead|reset|Remote end"):
            world.visit(path="/broken?n=100000")

        (one,) = world.requests()
        assert (one["status"], one["state"]) == (200, "broken")
        assert "incomplete" in one["error"]


def test_connections_of_tcp_tunnels_are_listed(tmp_path: Path) -> None:
    origin = RawOrigin(echo)
    with Inspected(tmp_path, tcp_tunnel(origin.port)) as world:
        with socket.create_connection(("127.0.0.1", world.up.port), timeout=10) as sock:
            sock.sendall(b"hello")
            assert sock.recv(5) == b"hello"

        (one,) = world.requests()
        assert (one["kind"], one["request_bytes"], one["response_bytes"], one["client"]) == ("tcp", 5, 5, "127.0.0.1")
        assert world.api("POST", f"/api/requests/{one['id']}/replay").status == 409
    origin.close()


def test_a_request_that_takes_long_is_shown_before_it_ends(tmp_path: Path) -> None:
    with HttpOrigin() as origin, inspected(tmp_path, origin.port) as world:
        visitor = threading.Thread(target=world.visit, kwargs={"path": "/hold"})
        visitor.start()
        until = time.monotonic() + 10
        while not (found := world.api("GET", "/api/requests").json["requests"]):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert (found[0]["state"], found[0]["duration_ms"], found[0]["status"]) == ("open", None, 0)
        origin.release.set()
        visitor.join()

        (one,) = world.requests()
        assert (one["state"], one["status"], one["id"]) == ("done", 200, found[0]["id"])


def test_clearing_removes_everything(tmp_path: Path) -> None:
    with RecordingOrigin() as origin, inspected(tmp_path, origin.port) as world:
        world.visit()
        world.requests()

        assert world.api("DELETE", "/api/requests").status == 204
        assert world.api("GET", "/api/requests").json == {"requests": [], "next": None}


def test_a_tunnel_that_is_not_inspected_is_not_captured(tmp_path: Path) -> None:
    with RecordingOrigin() as origin, Inspected(tmp_path, http_tunnel(origin.port, name="app", inspect=False)) as world:
        world.visit()
        time.sleep(0.3)

        assert world.api("GET", "/api/requests").json["requests"] == []


def test_the_key_is_in_a_private_file_while_the_agent_runs(tmp_path: Path) -> None:
    with RecordingOrigin() as origin, inspected(tmp_path, origin.port) as world:
        (path,) = (tmp_path / "run").iterdir()

        assert path.name.startswith("inspector-")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert json.loads(path.read_text())["key"] == world.key
    assert list((tmp_path / "run").iterdir()) == []
    assert key_file(tmp_path, 7) == tmp_path / "inspector-7.json"


def test_the_next_free_port_is_used_if_the_port_is_taken() -> None:
    with listen(ListenAddress("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with listen(ListenAddress("127.0.0.1", port)) as second:
            assert port < second.getsockname()[1] < port + 100


def test_an_address_that_does_not_exist_is_an_error() -> None:
    def fail(_address: ListenAddress) -> socket.socket:
        raise OSError(99, "Cannot assign requested address")

    with pytest.raises(ConfigError, match="--inspect: cannot listen on .*Cannot assign"):
        listen(ListenAddress("127.0.0.1", 4040), fail)


def test_hosts_are_names_of_this_address_only() -> None:
    assert allowed_hosts(ListenAddress("127.0.0.1", 4040)) == {"127.0.0.1:4040", "localhost:4040", "[::1]:4040"}
