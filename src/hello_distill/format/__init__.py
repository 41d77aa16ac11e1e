"""What lies on disk: its schema, its bytes, its card."""
