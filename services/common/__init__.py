"""What the services share. It knows none of them."""
