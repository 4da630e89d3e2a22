def test_open(database):
    assert database.row("SELECT id FROM installation") == (1,)
    with database.write():
        database.execute("INSERT INTO plans (id, fee_bp, key_rpm, account_rpm, concurrency) VALUES (?, 300, 60, 600, 50)", ("starter",))
