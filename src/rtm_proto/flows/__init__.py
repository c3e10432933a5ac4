"""Flows: what is a script, written as a generator that yields steps and is sent their outcomes."""
