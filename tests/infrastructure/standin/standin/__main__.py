"""Mends the emulator, then starts it."""

from ministack.app import main

from standin import balancer, database, recorded, tasks

for part in (recorded, database, tasks, balancer):
    part.mend()
main()
