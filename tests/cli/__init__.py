"""Tests of `portway.cli`."""
