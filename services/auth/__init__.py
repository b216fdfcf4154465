"""The auth service: manages users and issues the tokens that the other services verify."""
