"""The four services of PulseTrack, and what they share."""
