"""What can be done: a function per verb, a transaction per function. Both doors call these."""
