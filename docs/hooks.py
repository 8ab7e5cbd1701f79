"""mkdocs' hook: pages that live beside what they are about (README, deploy, CONTRIBUTING, CHANGELOG) join the site.

Links between these and docs/ are written as they work in the repository, and turned here.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "deploy/README.md": "deploy/README.md",
    "deploy/ansible/README.md": "deploy/ansible/README.md",
}
"""Where a page stands in the repository, and on the site."""
LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)\s]*)?\))")


def on_config(config: Any) -> Any:
    """List the pages of each folder that the nav names, its README first."""
    for section in config.nav:
        for name, entries in section.items():
            section[name] = [page for entry in entries for page in _pages(entry)]
    return config


def _pages(entry: Any) -> list[Any]:
    if not isinstance(entry, str) or not entry.endswith("/"):
        return [entry]
    pages = sorted((ROOT / "docs" / entry).glob("*.md"), key=lambda page: (page.name != "README.md", page.name))
    return [f"{entry}{page.name}" for page in pages]


def on_files(files: Files, config: Any) -> Files:
    """Bring the pages from outside in."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, files: Files, **_: Any) -> str:
    """Turn each link from where it leads in the repository to where that is on the site; a folder to its README."""
    stands = {shown: source for source, shown in OUTSIDE.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def turned(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(stands), link[2]))
        shown = OUTSIDE.get(target, target.removeprefix("docs/"))
        if files.get_file_from_path(f"{shown}/README.md"):
            shown = f"{shown}/README.md"
        there = posixpath.relpath(shown, posixpath.dirname(page.file.src_uri) or ".")
        return f"{link[1]}{there}{link[3]}"

    return LINK.sub(turned, markdown)
