"""Checking fencing tokens at the resource: what makes a lock with a lease safe.

A lock can be lost while its holder believes to hold it: its process was stopped, its network fell silent. Whoever
comes next has a higher token (`sneck.Guard.token`); a resource that refuses lower ones than it has seen refuses the one
who came before. No lock can do that from outside.

    import sneck
    from sneck import fence

    lock = sneck.Lock("etcd://localhost/report", require="durable-fencing")
    with lock as guard:
        fence.replace("report.json", b"{}", guard.token)

`replace` does it for a file, `Register` for what lives in a server's memory; PROTOCOLS.md has the same for SQL, etcd
and Redis, where it is one condition in the statement that changes the data.

Not for: getting tokens; a resource that cannot compare them (then the lock saves work, and no more).
"""

from ._sneck import Register, replace

__all__ = ["Register", "replace"]
