"""Tests of `portway.config`."""
