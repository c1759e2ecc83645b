from pathlib import Path

RESULTS = Path(__file__).parent / "results.jsonl"


def main(*a):
    pass
