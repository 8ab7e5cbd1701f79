"""The docs tell the truth about the command line, and no link in them leads nowhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main

from cellherd.cli import COMMANDS, app_for

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
BLOCK = re.compile(r"^```(?:sh|shell|console|bash)?\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:sudo )?cellherd [^`\n]+)`")
CALL = re.compile(r"(?:^|\s)(?:\S*/bin/)?cellherd ([a-z-].*)$")
END = {"|", "||", "&&", ";", "&", ">", ">>", "#"}
WORDS = {tuple(command.words.split()) for command in COMMANDS}


def calls(text: str) -> Iterator[str]:
    """What follows `cellherd` in the lines of code blocks, and in code within a line."""
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\||;", re.sub(r"\s#\s.*", "", line)):
                if found := CALL.search(part):
                    yield found[1]
    for line in INLINE.findall(text):
        yield line.partition("cellherd ")[2]


def words_of(call: str) -> list[str]:
    """The words of one call, up to where the shell goes on."""
    lexer = shlex.shlex(call, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    ends = [at for at, word in enumerate(words) if word in END]
    return words[: min(ends, default=len(words))]


@cache
def command_of(words: tuple[str, ...]) -> click.Command:
    """The opened command."""
    at: Any = typer.main.get_command(app_for(list(words)))
    for word in words:
        at = at.commands[word]
    found: click.Command = at
    return found


EVERY = sorted({(page.relative_to(ROOT).as_posix(), call) for page in PAGES for call in calls(page.read_text("utf-8"))})


def test_the_docs_are_full_of_commands() -> None:
    assert len(EVERY) > 100


@pytest.mark.parametrize(("page", "call"), EVERY)
def test_a_command_in_the_docs_exists_with_its_options(page: str, call: str) -> None:
    words = words_of(call)
    path = next((tuple(words[:n]) for n in (2, 1) if tuple(words[:n]) in WORDS), None)
    if path is None and (words[0].startswith("-") or len(words) == 1):  # a group, or the program itself
        assert words[0] in {"--version", "--help", "--debug", *(first for first, *_ in WORDS)}, call
        return
    assert path, f"{page}: there is no `cellherd {' '.join(words[:2])}`"
    known = {name for param in command_of(path).params for name in (*param.opts, *param.secondary_opts)}
    used = {word.partition("=")[0] for word in words[len(path) :] if re.match(r"--?[a-z]", word)}
    assert used <= known | {"--help", "--debug"}, f"{page}: `cellherd {' '.join(path)}` knows {sorted(known)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_link_leads_to_a_file_that_is_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text("utf-8"))
    gone = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not gone


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="pip install mkdocs-material")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path / "site")]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "deploy" / "index.html").exists()
