"""What stands in the head of each page, for search engines and for who shares a link.

The addresses of the site and of its repository are `[project.urls]` of pyproject.toml, and nowhere
else. A page without a `description` of its own has the beginning of its first paragraph; `title`
says which pages are of the API, as several names stand for a guide and for its reference.
"""

import html
import os
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FIRST = re.compile(r"<p>(?!\s*<img)(.*?)</p>", re.DOTALL)


def on_config(config, **_):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    config.site_url = project["urls"]["Documentation"].rstrip("/") + "/"
    config.repo_url = project["urls"]["Source"]
    config.repo_name = config.site_name
    if "MIKE_DOCS_VERSION" in os.environ:  # `mike deploy` builds: there is a list of versions
        config.extra["version"] = {"provider": "mike"}
    return config


def on_page_content(content: str, page, **_) -> str:
    if page.file.src_uri.startswith("api/"):
        page.meta.setdefault("title", f"{page.title}, API")
    if "description" not in page.meta and (first := _FIRST.search(content)):
        page.meta["description"] = _shortened(first[1])
    return content


def _shortened(paragraph: str, length: int = 160) -> str:
    """Whole sentences, as many as a search engine shows; whole words of one that is longer."""
    text = re.sub(r"<annotation.*?</annotation>", "", paragraph, flags=re.DOTALL)
    text = html.unescape(" ".join(re.sub(r"<[^>]*>", "", text).split()))
    if len(text) <= length:
        return html.escape(text)
    sentences = text[: length + 1].rpartition(". ")[0]
    cut = sentences + "." if len(sentences) > 50 else text[:length].rpartition(" ")[0] + " …"
    return html.escape(cut)


def on_post_page(output: str, page, config, **_) -> str:
    title = page.meta.get("title") or page.title or config.site_name
    tags = {
        "og:type": "website",
        "og:site_name": config.site_name,
        "og:title": html.escape(title),
        "og:description": page.meta.get("description", config.site_description),
        "og:url": page.canonical_url or config.site_url,
        "og:image": f"{config.site_url}assets/card.png",
        "og:image:width": "1200",
        "og:image:height": "630",
        "twitter:card": "summary_large_image",
    }
    metas = "".join(f'<meta property="{name}" content="{text}">' for name, text in tags.items())
    return output.replace("</head>", f"{metas}</head>", 1)
