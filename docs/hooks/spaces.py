"""A number is not parted from its error or its percent sign: spaces at which no line breaks."""

import re

_CODE_OR_SPACE = re.compile(
    r"(<(pre|code|math|svg)\b.*?</\2>)|(?<=\d) (?=[%±])|(?<=±) (?=\d)", re.DOTALL
)


def on_page_content(content: str, **_) -> str:
    return _CODE_OR_SPACE.sub(lambda match: match[1] or "\N{NO-BREAK SPACE}", content)
