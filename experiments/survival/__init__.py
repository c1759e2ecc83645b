"""What was done to the library, and what came out: see docs/survival.md."""
