"""ministack, mended where it does not run what our templates describe."""
