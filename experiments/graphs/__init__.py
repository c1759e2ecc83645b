"""Quantum signals in implicit graph networks: does any way of injecting them help?"""
