"""Lists of folders."""

import os
from pathlib import Path

from portway.agent.static_origin import listing
from portway.agent.target import Target
from tests.agent.static_origin.conftest import Stage, request_for


def test_a_list_has_files_and_folders_but_no_dotfiles_and_no_links_out(stage: Stage, site: Path) -> None:
    page = stage.ask(request_for(Target(directory=str(site), listing=True)), "/").body.decode()
    for shown in ("page.html", "inside", "sub/", "with index/"):
        assert f">{shown}<" in page
    for hidden in (".env", ".well-known", "outside", "nowhere", "../"):
        assert hidden not in page
    assert page.index(">sub/<") < page.index(">bytes.bin<"), "folders first"


def test_names_are_text_and_links_lead_to_them(stage: Stage, site: Path) -> None:
    (site / "sub" / "javascript:alert(1)").touch()
    Path(os.fsdecode(os.fsencode(site / "sub") + b"/\xff")).touch()
    folder = request_for(Target(directory=str(site), listing=True))
    got = stage.ask(folder, "/sub/")
    page = got.body.decode()

    assert "a b&lt;i&gt;?.txt" in page
    assert "<i>" not in page
    assert 'href="./javascript%3Aalert%281%29"' in page
    assert 'href="./%FF"' in page
    assert 'href="./a%20b%3Ci%3E%3F.txt"' in page
    assert 'href="../"' in page
    assert "default-src 'none'" in got.headers["content-security-policy"]


def test_an_index_page_comes_first_and_an_empty_folder_has_a_list(stage: Stage, site: Path) -> None:
    folder = request_for(Target(directory=str(site), listing=True))
    assert stage.ask(folder, "/with%20index/").body == b"<p>index"
    assert stage.ask(folder, "/sub/empty/").status == 200


def test_a_huge_folder_shows_a_bounded_number_and_says_so(tmp_path: Path) -> None:
    for number in range(listing.ENTRIES_MAX + 7):
        (tmp_path / f"f{number:05}").touch()
    page = bytes(listing.listing_page(str(tmp_path), "/", str(tmp_path)).body).decode()
    assert page.count("<tr>") == listing.ENTRIES_MAX
    assert "7 more entries are not shown." in page
