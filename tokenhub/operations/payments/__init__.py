"""Money from outside: top-ups, refunds, disputes and automatic recharges through Stripe.

Each thing that is bought or given back is a row before Stripe is asked (the *intent*), and every
way of hearing about it (the command that waits, the gateway's polls, webhooks, sweeps) ends in
one function that fetches the object and decides in one transaction. No call to Stripe is ever
made inside a transaction. All of it is synchronous: it runs in commands and in a thread of the
gateway.
"""
