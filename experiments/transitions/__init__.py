"""What happens at a phase transition to equilibria, and to a fixed number of applications."""
