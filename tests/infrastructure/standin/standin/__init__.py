"""ministack with patches for the resources of the templates."""
