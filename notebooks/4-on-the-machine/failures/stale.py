"""A job opens its store at a fixed port; an older one is still there."""

import sys
from datetime import timedelta

from torch.distributed import TCPStore

job, is_first_rank = sys.argv[1], sys.argv[2] == "0"
store = TCPStore("127.0.0.1", 29517, is_master=is_first_rank, timeout=timedelta(seconds=30))
if is_first_rank:
    store.set("job", job)
    if job == "older":
        store.get("never set")  # it hangs, and keeps the port
else:
    print(f"a rank of the {job} job reads: this is the {store.get('job').decode()} job", flush=True)
