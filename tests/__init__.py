"""Proof that Portway does what it says, mirroring src."""
