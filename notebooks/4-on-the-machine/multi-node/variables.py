"""Write what this process finds in its environment to FOLDER/NODE-PID.json: python variables.py FOLDER"""

import json
import os
import sys
from pathlib import Path

found = dict(os.environ) | {"node": os.uname().nodename, "cores": sorted(os.sched_getaffinity(0))}
folder = Path(sys.argv[1])
folder.mkdir(exist_ok=True)
(folder / f"{found['node']}-{os.getpid()}.json").write_text(json.dumps(found))
