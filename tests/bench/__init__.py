"""Tests of the benchmark: its arithmetic, its texts, and one tiny run."""
