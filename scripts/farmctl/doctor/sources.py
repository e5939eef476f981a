# SPDX-License-Identifier: Apache-2.0
"""The datasets' sources: may farmsync read them, and are their changes found as they should be?"""

from ..errors import CtlError
from . import error, ok, skipped, warning


def check(patient):
    if patient.farm is None:
        yield skipped("datasets", "farmsync's database can't be read")
        return
    found = patient.db.rows("SELECT * FROM farmsync.datasets ORDER BY group_name, name")
    rows = [row for row in found if patient.group in (None, row["group_name"])]
    if not any(row["state"] == "in use" for row in rows):
        yield warning("datasets", "there are no datasets yet",
                      "CALL farmsync.add_dataset('prices', 'shop.prices', 'sku')")
    readable = 0
    for row in rows:
        if row["state"] == "being added":
            yield warning("dataset", f"{row['name']} is being added, or that was broken off",
                          f"if nobody adds it now: CALL farmsync.drop_dataset('{row['name']}')")
        elif row["state"] == "in use":
            problem = unreadable(patient.db, row)
            readable += problem is None
            yield from [problem] if problem else []
            if row["problem"]:
                yield warning("dataset-changes", f"{row['name']}: changes are found by full "
                              f"comparison only: {row['problem']}", "restore the index or the "
                              "triggers; CALL farmsync.show_triggers lists them")
    if readable:
        yield ok("datasets", f"farmsync may read the sources of {readable} "
                 + ("dataset" if readable == 1 else "datasets"))
    yield from engines(patient.db, rows)


def unreadable(db, row):
    """A finding if the view over the source can't be opened with the rights of farmsync."""
    try:
        db.rows(f"SELECT 1 FROM farmsync.`pending_{row['name']}` LIMIT 0")
        return None
    except CtlError as failure:
        source = row["source"]
        return error("dataset-source", f"{row['name']}: {source} can't be read: {failure}",
                     f"if the table is there: GRANT SELECT ON {source} TO "
                     "'farmsync'@'localhost'; if it was altered: drop_dataset and add_dataset; if "
                     f"it is gone: bring it back or CALL farmsync.drop_dataset('{row['name']}')")


def engines(db, rows):
    """Sources without transactions, as far as this account sees them."""
    wanted = {row["source"].replace("`", "").lower(): row["name"] for row in rows}
    for table in db.rows("SELECT CONCAT(table_schema, '.', table_name) AS name, engine AS engine "
                         "FROM information_schema.tables WHERE engine IN ('MyISAM', 'Aria', "
                         "'MEMORY')"):
        name = table["name"].lower()
        if name in wanted:
            yield warning("source-engine", f"{wanted[name]}: {table['name']} is in "
                          f"{table['engine']}, so a promotion may see half of a change",
                          f"ALTER TABLE {table['name']} ENGINE = InnoDB")
