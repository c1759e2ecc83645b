"""The studies behind the numbers in the docs, and what they share: see README.md."""

from docs.hooks.pages import (
    DOCS as DOCS,
    fill_page as fill_page,
    markdown as markdown,
    panels as panels,
    save_figure as save_figure,
    tidy as tidy,
)

from ._results import (
    load_records as load_records,
    Off as Off,
    progress as progress,
    Record as Record,
    report_command as report_command,
    require_records as require_records,
    rounded as rounded,
    save_record as save_record,
    to_do as to_do,
)
