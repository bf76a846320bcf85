"""Turns files, environment and flags into typed settings, and knows no room that they steer."""
