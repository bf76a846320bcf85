import pytest

from portway.protocol.http1.query_mask import mask_query


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (b"page=2&sort=name", b"page=2&sort=name"),
        (b"token=abc&page=2", b"token=***&page=2"),
        (b"access_token=a&refresh-token=b", b"access_token=***&refresh-token=***"),
        (b"api_key=1&apikey=2&key=3&KEY=4", b"api_key=***&apikey=***&key=***&KEY=***"),
        (b"code=4/0Ab&state=xyz&scope=email", b"code=***&state=***&scope=email"),
        (b"X-Amz-Signature=00&X-Amz-Date=1&X-Amz-Credential=a", b"X-Amz-Signature=***&X-Amz-Date=1&X-Amz-Credential=***"),
        (b"user[password]=x&user[name]=y", b"user[password]=***&user[name]=y"),
        (b"keyboard=1&monkey=2&design=3&encoded=4", b"keyboard=1&monkey=2&design=3&encoded=4"),
        (b"token", b"token"),
        (b"token=", b"token="),
        (b"token=a=b", b"token=***"),
        (b"", b""),
        (b"&&=x&", b"&&=x&"),
    ],
)
def test_values_that_open_something_are_masked(query: bytes, shown: bytes) -> None:
    assert mask_query(query) == shown
