"""Methods, labels and settings side by side, into result files."""
