"""Run the probe with the key of the page and with a wrong one, in one interpreter: importing a client takes longest."""

import os
import runpy
import sys

KEY = "th-your-key"

for place, key in (("right", KEY), ("wrong", "th-wrong")):
    os.environ.update({name: key for name, value in os.environ.items() if value == KEY})
    sys.path.insert(0, place)
    runpy.run_path(f"{place}/hello.py", run_name="__main__")
    for name in ("page", "probing"):
        del sys.modules[name]
