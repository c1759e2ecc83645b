"""Formulas become MathML when the site is built: no script, no font, no server of others.

`pymdownx.arithmatex` marks them (`$...$` and `$$...$$`), here they are translated. Browsers have
shown MathML by themselves since 2023. A formula that cannot be translated stops a strict build.
"""

import html
import logging
import re

from latex2mathml.converter import convert

# A warning of a logger below "mkdocs" makes `mkdocs build --strict` fail.
_log = logging.getLogger("mkdocs.hooks.mathml")
_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
# An operator of LaTeX that latex2mathml has not heard of.
_ARG = re.compile(r"\\arg(?![A-Za-z])")
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def _translate(match: re.Match[str], display: str, page: str) -> str:
    latex = html.unescape(match[1]).strip()
    try:
        mathml = convert(_ARG.sub(r"\\operatorname{arg}", latex), display=display)
    except Exception as error:
        _log.warning("%s: cannot translate the formula %r: %r", page, latex, error)
        return match[0]
    # latex2mathml leaves a command that it does not know in the output as text.
    unknown = re.search(r"\\[A-Za-z]+", re.sub(r"<annotation.*?</annotation>", "", mathml))
    if unknown:
        _log.warning("%s: %s in the formula %r is not known", page, unknown[0], latex)
    return mathml


def on_page_content(content: str, page, **_) -> str:
    name = page.file.src_uri
    content = _INLINE.sub(lambda match: _translate(match, "inline", name), content)
    return _BLOCK.sub(lambda match: _translate(match, "block", name), content)
