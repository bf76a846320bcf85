"""The measured systems, one file per program; each starts its processes on free ports."""
