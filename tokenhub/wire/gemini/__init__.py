"""Google's generateContent: as an upstream speaks it, and as clients do."""
