"""Base models: load, check and probe a model and its tokenizer."""
