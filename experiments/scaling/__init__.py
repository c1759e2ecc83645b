"""What a training step costs, by wires and batch, and what that says of many devices."""
