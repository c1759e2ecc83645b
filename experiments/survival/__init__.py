"""What survives what: crashes, files and texts from elsewhere, and changes to the code itself.

Each command is a module here with a `main`; what it counted goes to `results/NAME.json`.
"""

from pathlib import Path

RESULTS = Path(__file__).parent / "results"
"""What the page *What survives what* is drawn from: one file for each command."""
