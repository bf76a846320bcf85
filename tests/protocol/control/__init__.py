"""Tests of what agent and server say to each other."""
