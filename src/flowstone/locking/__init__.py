"""Locks on keys, so that one computation is done once: in a process, on a machine, or by many machines.

The contract is in `base`; `memory` is the reference, `filesystem` excludes the processes of one machine and `redis` the
machines that share a server. Reading order for their common core: `holders`, `table`, `space`.
"""
