"""The transformation that the manifest names."""

import pytest
from components import CountDownloads


@pytest.mark.parametrize(
    ("record", "counts"),
    [
        ({"assets": [{"download_count": 2}, {"download_count": 3}], "author": {"login": "ada"}}, (2, 5, "ada")),
        ({"assets": [{}]}, (1, 0, None)),
        ({"assets": None, "author": None}, (0, 0, None)),
    ],
)
def test_totals_of_a_release(record, counts):
    CountDownloads().transform(record)
    assert (record["asset_count"], record["download_count"], record["author_login"]) == counts


def test_what_was_there_stays():
    record = {"assets": [{"name": "a.zip", "download_count": 1}]}
    CountDownloads().transform(record)
    assert record["assets"] == [{"name": "a.zip", "download_count": 1}]
