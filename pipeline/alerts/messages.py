"""From news in words to messages for every channel. Pure.

`News` is all that a message says, before any language or channel: the state machine's side of the seam ends here.
"""

from __future__ import annotations

from pipeline.alerts import caption, letter
from pipeline.alerts.caption import BRIEF, size
from pipeline.alerts.channel import Kind, Message
from pipeline.alerts.story import News, as_text, plain, story
from pipeline.sentences import ENGLISH

__all__ = ["BRIEF", "News", "listed", "message", "size"]


def message(news: News) -> Message:
    """The message for every channel, in the language of the news."""
    said = story(news)
    return Message(
        key=news.key, kind=news.kind, thread=news.thread, answers=news.answers, handle=news.thread,
        choices=news.choices, language=news.language, facts=news.facts,
        subject=f"[{said.urgency}] {said.what}: {said.where}",
        text=as_text(said), html=letter.page(said), brief=caption.brief(said),
    )  # fmt: skip


def listed(key: str, kind: Kind, subject: str, lines: list[str], language: str = ENGLISH) -> Message:
    """A message of lines, for what is about no single trouble: summaries, digests."""
    title, said = plain(subject), [plain(line) for line in lines]
    return Message(
        key, title, "\n".join([title, "", *said]) + "\n", letter.listing(title, said, language),
        caption.listing(title, said), kind=kind, language=language,
    )  # fmt: skip
