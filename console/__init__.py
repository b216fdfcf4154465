"""The web console: its sources, and the program that builds it with the Node.js of a Python package."""
