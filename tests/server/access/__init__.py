"""Tests of `portway.server.access`."""
