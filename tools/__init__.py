"""Developer programs. Nothing that runs in production imports them."""
