"""What is done with a learned run: exported, imported, merged, asked."""
