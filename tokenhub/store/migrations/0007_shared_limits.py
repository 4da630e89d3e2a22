"""A key that was rotated counts what it spends and holds in the row of the newest key it was rotated to.

Each had counted apart. What the old ones have spent since their rotation is left out of the
newest one's count: nobody knows what of it was counted there already. What they hold in a later
period than the newest one has entered is moved to that one's: it enters a period with nothing held,
so that no hold could end which belongs to that period already.
"""

from typing import Any

ROTATED = """
WITH RECURSIVE rotated(id, last, next) AS (
    SELECT id, id, replaced_by FROM keys WHERE replaced_by IS NOT NULL
    UNION ALL
    SELECT r.id, k.id, k.replaced_by FROM rotated r JOIN keys k ON k.id = r.next
)
"""
BROUGHT_BACK = f"""{ROTATED}
UPDATE holds SET period_start = (
    SELECT k.period_start FROM rotated r JOIN keys k ON k.id = r.last
    WHERE r.id = holds.key_id AND r.next IS NULL
)
WHERE EXISTS (
    SELECT 1 FROM rotated r JOIN keys k ON k.id = r.last
    WHERE r.id = holds.key_id AND r.next IS NULL AND k.period_start < holds.period_start
)
"""
MOVED = f"""{ROTATED}
UPDATE keys SET period_held = period_held + (
    SELECT COALESCE(SUM(h.amount), 0) FROM holds h JOIN rotated r ON r.id = h.key_id
    WHERE r.last = keys.id AND h.period_start = keys.period_start
)
WHERE replaced_by IS NULL AND id IN (SELECT last FROM rotated WHERE next IS NULL)
"""


def up(_migrator: object, db: Any) -> None:
    """Move what the old ones hold to the newest, and leave nothing counted in their own rows."""
    db.execute_sql(BROUGHT_BACK)
    db.execute_sql(MOVED)
    db.execute_sql("UPDATE keys SET period_spent = 0, period_held = 0 WHERE replaced_by IS NOT NULL")
