"""PostgreSQL: snapshots by LISTEN/NOTIFY, credit and settlement by the ledger's SQL functions.

The marketplace's billing migrations install those functions, which are the only writers of money.
No call waits for anything here except a lease that has to be fetched.
"""
