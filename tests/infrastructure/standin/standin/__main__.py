"""Patches and starts the emulator."""

from ministack.app import main

from standin import balancer, database, recorded, tasks

for part in (recorded, database, tasks, balancer):
    part.patch()
main()
