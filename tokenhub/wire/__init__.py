"""Body formats: what a request asks, what a reply holds, in each provider family's own words."""
