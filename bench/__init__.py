"""Compares Portway side by side with its peers on one machine, in one run."""
