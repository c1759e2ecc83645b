"""What a user brings, in how many lines of code, and what comes out: beside PennyLane and TorchDEQ.

One file for each side, with a function for each task. They are counted as they stand.
"""
