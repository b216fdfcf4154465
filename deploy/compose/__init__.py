"""PulseTrack on one server, in containers: `python3 -m deploy.compose up`, or `make compose`.

It runs on the machine's own Python, with its standard library alone: who has docker needs no packages.
"""
