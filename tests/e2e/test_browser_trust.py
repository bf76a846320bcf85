"""Chromium and the development CA: refused at first, accepted after `portway trust --install`, refused after `--uninstall`."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.world import World, event
from tests.kit.http_origin import HttpOrigin

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def visit(world: World, url: str, profile: Path) -> str:
    """Return the page that Chromium shows, an error page included."""
    assert CHROMIUM is not None
    quiet = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-proxy-server", f"--user-data-dir={profile}")
    command = [CHROMIUM, *quiet, "--dump-dom", url]
    done = subprocess.run(command, env=world.environment, capture_output=True, text=True, timeout=100, check=False)
    return done.stdout + done.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.skipif(shutil.which("certutil") is None, reason="certutil is not installed; see scripts/test-deps")
def test_chromium_trusts_the_root_while_it_is_installed(tmp_path: Path) -> None:
    with HttpOrigin() as origin, World(https=True, server_flags=("--dev-tls",)) as world:
        world.start_server()
        url = event(world.agent(world.token(), "http", str(origin.port), "--name", "app"), "tunnel_up")["url"]
        trust = ("--store", "browsers", "--yes", "--data", str(world.server_data))

        assert url.startswith("https://")
        assert "ERR_CERT_AUTHORITY_INVALID" in visit(world, url + "/headers", tmp_path / "1")
        assert world.run("trust", "--install", *trust).code == 0
        assert '["Host", "app.localhost:' in visit(world, url + "/headers", tmp_path / "2")
        assert world.run("trust", "--uninstall", *trust).code == 0
        assert "ERR_CERT_AUTHORITY_INVALID" in visit(world, url + "/headers", tmp_path / "3")
