"""What a call costs and who pays: prices times usage, the bound of a call, and the rule book of holds and lots.

Holds are placed, then settled or released, once (``holds``, ``rules``); credit lives in lots that are drawn down in the order of
their expiry (``lots``); every event is one immutable entry (``journal``); what must always hold stands in ``invariants``.
"""
