"""Images that stand alone become figures: with a caption, and larger when they are clicked.

`![What is seen.](file.svg "Caption.")`; without a caption, what is seen is the caption. A figure
that has neither stops a strict build.
"""

import html
import logging
import re

_log = logging.getLogger("mkdocs.hooks.figures")
_ALONE = re.compile(r"<p>\s*<img ([^>]*?)\s*/?>\s*</p>")
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')


def on_page_content(content: str, page, **_) -> str:
    def figure(match: re.Match[str]) -> str:
        given = dict(_ATTRIBUTE.findall(match[1]))
        caption = given.pop("title", "") or given.get("alt", "")
        if not caption:
            _log.warning("%s: the image %s has no text", page.file.src_uri, given.get("src"))
        image = " ".join(f'{name}="{value}"' for name, value in given.items())
        return (
            f'<figure><a class="enlarge" href="{html.escape(given.get("src", ""))}" '
            f'title="Enlarge"><img {image}></a><figcaption>{caption}</figcaption></figure>'
        )

    return _ALONE.sub(figure, content)
