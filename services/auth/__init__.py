"""Signs people up, logs them in, and issues the tokens that every other service verifies."""
