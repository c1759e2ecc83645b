"""Formulas become MathML when the site is built: no script, no server of others.

`pymdownx.arithmatex` marks them (`$...$` and `$$...$$`), here they are translated. Browsers have
shown MathML by themselves since 2023; the font, TeX Gyre Pagella Math, lies in `docs/fonts`. (Its
roots are of one width: Chromium leaves room for the widest.) A formula that cannot be translated
stops a strict build.
"""

import html
import logging
import re
from xml.etree import ElementTree

from latex2mathml.converter import convert

# A warning of a logger below "mkdocs" makes `mkdocs build --strict` fail.
_log = logging.getLogger("mkdocs.hooks.mathml")
_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
# An operator of LaTeX that latex2mathml has not heard of.
_ARG = re.compile(r"\\arg(?![A-Za-z])")
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)

_MATHML = "http://www.w3.org/1998/Math/MathML"
_ROWS = frozenset(f"{{{_MATHML}}}{tag}" for tag in ("math", "mrow", "mtd", "msqrt", "mstyle"))
_SCRIPTS = frozenset(
    f"{{{_MATHML}}}{tag}" for tag in ("msub", "msup", "msubsup", "munder", "mover", "munderover")
)
_BARS, _SIGNS, _CLOSING = (*"|‖",), (*"−+±∓",), (*")]}⟩⌉⌋!′",)
ElementTree.register_namespace("", _MATHML)


def _operator(item: ElementTree.Element | None) -> ElementTree.Element | None:
    """The operator that an element is, with or without indices."""
    while item is not None and item.tag in _SCRIPTS:
        item = item[0]
    return item if item is not None and item.tag.endswith("}mo") else None


def _tighten(mathml: str) -> str:
    """Spaces as TeX sets them, where MathML takes a sign for an operator between two terms: none
    around a bar of kets and norms and around a slash, none after the minus of [-1, 1].
    """
    root = ElementTree.fromstring(mathml)
    for row in root.iter():
        if row.tag not in _ROWS:
            continue
        after_term, bars = False, 0
        for item in row:
            operator = _operator(item)
            text = "" if operator is None else operator.text or ""
            if operator is not None and text in (*_BARS, "/"):
                operator.attrib.update(lspace="0", rspace="0")
                bars += text != "/"
            elif operator is not None and text in _SIGNS and not after_term:
                operator.attrib.update(form="prefix", lspace="0", rspace="0")
            after_term = operator is None or text in _CLOSING or (text in _BARS and bars % 2 == 0)
    return ElementTree.tostring(root, encoding="unicode")


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
    return _tighten(mathml)


def on_page_content(content: str, page, **_) -> str:
    name = page.file.src_uri
    content = _INLINE.sub(lambda match: _translate(match, "inline", name), content)
    return _BLOCK.sub(lambda match: _translate(match, "block", name), content)
