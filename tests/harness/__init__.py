"""What tests stand on: a loop in the background, tokens, and a client that speaks as a caller would."""
