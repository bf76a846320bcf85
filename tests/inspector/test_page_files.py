"""The files of the page, and the library in the design kit."""

import hashlib
import re
from pathlib import Path

from portway import web
from portway.inspector.page_files import KIT, page_files

VENDORED = {
    # htm 3.1.1 (Apache-2.0) with Preact (MIT): preact/standalone.module.js of the package
    "htm-preact.js": "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7",
}


def test_every_file_that_the_page_refers_to_is_there() -> None:
    files = page_files()
    wanted = set(re.findall(r'/assets/([\w.-]+)"', files["index.html"].body.decode()))
    for name, file in files.items():
        if name.endswith(".js") and name not in VENDORED:
            wanted |= set(re.findall(r'from "\./([\w.-]+)"', file.body.decode()))
    assert wanted <= files.keys()
    assert set(KIT) <= files.keys()


def test_vendored_files_are_unchanged() -> None:
    kit = Path(next(iter(web.__path__))) / "kit"
    for name, digest in VENDORED.items():
        assert hashlib.sha256((kit / name).read_bytes()).hexdigest() == digest


def test_the_pages_own_code_makes_no_html_of_text() -> None:
    for name, file in page_files().items():
        if name.endswith(".js") and name not in VENDORED:
            code = file.body.decode()
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslySetInnerHTML|\beval\(", code), name
