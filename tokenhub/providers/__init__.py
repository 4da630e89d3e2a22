"""How each upstream is reached: its address, key, quirks and errors; and the connections to all of them."""
