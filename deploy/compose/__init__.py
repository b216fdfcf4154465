"""PulseTrack on one server, in containers: `python3 -m deploy.compose up`, or `make compose`.

The program runs on the system's Python and needs only the standard library and Docker.
"""
