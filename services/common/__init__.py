"""Code that the services share. It depends on none of them."""
