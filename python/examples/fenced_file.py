"""A job of several steps that must not run twice at once, on any machine, and whose writes count only while it is the latest holder.

    python fenced_file.py 'etcd://localhost/nightly?ttl=15s&lock-delay=5s' report.txt 60

The lock (etcd, PostgreSQL or Redis), the file that the job replaces at each step, and the seconds that a step takes. The token is
checked where the data is: `sneck.fence.replace` refuses whoever comes late. Ends with 76 if the lock was lost on the way; then
the one that came after it goes on.
"""

import sys

import sneck
from sneck import fence


def job(place, path, seconds):
    with sneck.Lock(place, require="fencing", label="fenced_file") as guard:
        print("holds it with the token", guard.token)
        for step in range(1, 4):
            # The work of a step, which ends early when the lock is lost: waiting, here. Where work cannot be
            # interrupted, `guard.ensure_held()` between its parts does; a task says `await guard.until_lost_async()`.
            if guard.until_lost(timeout=seconds):
                break
            text = f"step {step}"
            fence.replace(path, text.encode(), guard.token)
            print(text)
    # Leaving the block raises `LockLost` if the lock was lost meanwhile.


if __name__ == "__main__":
    try:
        job(sys.argv[1], sys.argv[2], float(sys.argv[3]))
    except sneck.LockLost as error:
        print("lost:", error, file=sys.stderr)
        sys.exit(76)
