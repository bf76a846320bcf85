"""The measurements, one file per axis."""
