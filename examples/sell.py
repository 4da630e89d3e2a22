"""Sell credit from a page or a bot of your own: make a link, hand it to the customer, act when it is paid.

TOKENHUB_HOME=… python sell.py acme 20

It runs beside the gateway, with `tokenhub` on the PATH. The gateway watches the payment and
credits it, also when this program is gone; the credit is there before the state says "paid".
"""

import json
import subprocess
import sys
import time


def tokenhub(*arguments: str) -> dict:
    """Run a command; its JSON has stable names."""
    return json.loads(subprocess.run(["tokenhub", *arguments, "--json"], stdout=subprocess.PIPE, check=True).stdout)


account, amount = sys.argv[1:]
topup = tokenhub("topup", amount, "--account", account, "--no-wait")
print(f"Pay {topup['amount']} {topup['currency'].upper()} here: {topup['url']}", flush=True)

while topup["state"] in ("new", "open", "processing"):
    time.sleep(2)
    topup = tokenhub("topups", "show", topup["id"])

print(f"{topup['state']}: {account} has {tokenhub('accounts', 'show', account)['available_usd']} USD")
