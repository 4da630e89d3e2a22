"""Which deployments a request may use, in what order."""
