"""What a request costs in TokenHub, beside a bare pass-through in the same run; see README.md."""
