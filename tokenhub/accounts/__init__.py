"""Who calls: accounts, plans and keys, their rate windows, and where callers are found."""
