"""Errors, processes, files that appear whole: what every other folder stands on."""
