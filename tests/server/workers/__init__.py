"""Tests of multi-process mode."""
