"""`make localstack`: starts LocalStack with what PulseTrack needs, deploys to it, and makes the calls of a user."""
