"""The journal keeps what it said it keeps, whatever was torn off or flipped."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.journal.entry import Entry
from pipeline.journal.files import Journal, JournalFull, entries, next_segment, segments

INT64 = st.integers(-(2**63), 2**63 - 1)
ENTRIES = st.builds(
    Entry,
    topic=st.text(max_size=80),
    payload=st.binary(max_size=300),
    arrival_ts=INT64,
    site=st.text(max_size=20),
    unit=st.text(max_size=70),
    offset_ms=st.none() | st.integers(-(2**62), 2**62),
    skip=st.lists(st.integers(1, 2**63 - 1), max_size=5).map(tuple),
)


def entry(number: int) -> Entry:
    return Entry("fleet/pi1/r/s1/m1", f"payload {number}".encode(), number, "site1", "site1.s1.m1.1")


def written(folder: Path, frames: int = 5) -> list[Entry]:
    """A sealed segment 1 of frames with two entries each."""
    journal = Journal(folder)
    all_ = [entry(n) for n in range(2 * frames)]
    for at in range(0, len(all_), 2):
        journal.append(all_[at : at + 2])
    assert journal.seal() == 1
    return all_


@given(st.lists(st.lists(ENTRIES, min_size=1, max_size=5), max_size=5))
def test_what_goes_in_comes_out(frames: list[list[Entry]]) -> None:
    with TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        for frame in frames:
            journal.append(frame)
        number = journal.seal()
        found = list(entries(Path(folder), number)) if number else []
        assert found == [one for frame in frames for one in frame]


def test_a_tail_torn_anywhere_costs_its_own_frame_only(tmp_path: Path) -> None:
    kept = written(tmp_path)
    path = next(tmp_path.iterdir())
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        found = list(entries(tmp_path, 1))
        assert found == kept[: len(found)]
        assert len(found) == 2 * (cut * 5 // len(whole))


def test_a_flipped_bit_anywhere_costs_one_frame_at_most(tmp_path: Path) -> None:
    kept = written(tmp_path)
    path = next(tmp_path.iterdir())
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        found = list(entries(tmp_path, 1))
        assert len(found) == len(kept) - 2
        assert [one for one in kept if one in found] == found


def test_a_segment_is_due_by_age_or_size_but_never_empty(tmp_path: Path) -> None:
    young = Journal(tmp_path / "young", size=200)
    assert not young.due()
    young.append([entry(1)])
    assert not young.due()
    young.append([entry(2), entry(3)])
    assert young.due()
    old = Journal(tmp_path / "old")
    old.age_s = 0
    assert not old.due()
    assert old.seal() == 0
    old.append([entry(1)])
    assert old.due()


def test_segments_are_numbered_on_and_on_across_starts(tmp_path: Path) -> None:
    written(tmp_path)
    again = Journal(tmp_path)
    again.append([entry(7)])
    assert (again.seal(), again.sealed()) == (2, [1, 2])
    assert Journal(tmp_path / "new", first=900).number == 900


def test_only_sealed_segments_up_to_the_number_are_deleted(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(4):
        journal.append([entry(number)])
        journal.seal()
    journal.append([entry(9)])
    journal.delete(2)
    assert segments(tmp_path) == [3, 4, 5]
    journal.delete(99)
    assert segments(tmp_path) == [5]
    assert (next_segment(tmp_path, 1), next_segment(tmp_path, 5)) == (5, None)


def test_a_full_journal_takes_nothing_until_there_is_room(tmp_path: Path) -> None:
    journal = Journal(tmp_path, cap=250)
    journal.append([entry(1)])
    journal.seal()
    with pytest.raises(JournalFull, match="stores must catch up"):
        journal.append([entry(n) for n in range(5)])
    journal.delete(1)
    journal.append([entry(2)])
    assert list(entries(tmp_path, journal.seal())) == [entry(2)]


def test_after_a_failed_sync_the_batch_goes_to_a_new_segment_and_stands_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    journal.append([entry(1)])
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(5, "I/O error")))
        with pytest.raises(OSError, match="I/O error"):
            journal.append([entry(2)])
    journal.append([entry(2)])
    journal.seal()
    assert [one for number in segments(tmp_path) for one in entries(tmp_path, number)] == [entry(1), entry(2)]
