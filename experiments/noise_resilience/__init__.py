"""What noise, shots and mitigation do to trained models."""
