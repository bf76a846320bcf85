"""Decides who may do what, as pure functions over tokens and claims."""
