"""The notifier dies around the send, at every named point and at any moment: nothing is lost, and repeats say so."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.notifier_kills import POINTS, play
from tests.chaos.world import seed


def test_no_alert_is_lost_and_a_kill_repeats_one_message_at_most_which_says_so(tmp_path: Path) -> None:
    number = seed()
    print(f"seed {number}")
    count = play(tmp_path, kills=4 * len(POINTS), number=number)
    assert count.kills.total() == 4 * len(POINTS)
    assert (count.lost, count.unmarked) == ([], []), count.said()
    assert count.most_a_kill <= 1, count.said()
    again = count.repeats + count.edited_again  # what was being sent may be an edit of an earlier message
    assert again >= 4, f"dying after the send and before the note must repeat; else this tested nothing: {count.said()}"
    assert count.repeats, count.said()
