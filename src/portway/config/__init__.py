"""Loads typed settings from files, environment and flags, independently of the packages that define them."""
