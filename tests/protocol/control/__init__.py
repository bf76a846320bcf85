"""Tests of control messages."""
