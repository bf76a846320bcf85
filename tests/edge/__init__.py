"""Tests of the listeners for visitors."""
