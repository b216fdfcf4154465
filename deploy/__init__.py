"""What production runs besides the services, and how their containers are started."""
