"""The words a person types, turned into settings and one call."""
