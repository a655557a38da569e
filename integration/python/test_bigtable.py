"""Google's Bigtable client for Python against the server that
BIGTABLE_EMULATOR_HOST names. The Go test beside it starts one."""

import asyncio
import datetime
import os
import struct
import unittest

from google.api_core import exceptions
from google.cloud.bigtable import Client, column_family, enums
from google.cloud.bigtable import row_filters as classic_filters
from google.cloud.bigtable.data import (
    BigtableDataClient,
    BigtableDataClientAsync,
    DeleteAllFromRow,
    DeleteRangeFromColumn,
    ReadRowsQuery,
    RowMutationEntry,
    RowRange,
    SetCell,
    row_filters,
)
from google.cloud.bigtable.data.exceptions import MutationsExceptionGroup
from google.cloud.bigtable.data.read_modify_write_rules import AppendValueRule, IncrementRule

PROJECT, INSTANCE = "project", "instance"


def cells(row):
    """The cells of a row in order."""
    return [f"{c.family}:{c.qualifier.decode()}={c.value.decode()}" for c in row.cells]


class Admin(unittest.TestCase):
    """The classic client, which has the administration."""

    def setUp(self):
        self.client = Client(project=PROJECT, admin=True)
        self.instance = self.client.instance(INSTANCE)

    def test_tables(self):
        table = self.instance.table("admin")
        table.create(
            initial_split_keys=[b"g", b"p"],
            column_families={
                "f": column_family.GCRuleUnion([
                    column_family.MaxVersionsGCRule(2),
                    column_family.MaxAgeGCRule(datetime.timedelta(days=30000)),
                ]),
            },
        )
        self.addCleanup(lambda: table.exists() and table.delete())
        self.assertTrue(table.exists())
        self.assertIn("admin", [t.table_id for t in self.instance.list_tables()])
        self.assertEqual([k.row_key for k in table.sample_row_keys()], [b"g", b"p", b""])
        with self.assertRaises(exceptions.AlreadyExists):
            table.create()

        added = table.column_family("g", column_family.MaxVersionsGCRule(1))
        added.create()
        added.gc_rule = column_family.GCRuleIntersection(
            [column_family.MaxVersionsGCRule(3), column_family.MaxAgeGCRule(datetime.timedelta(hours=1))])
        added.update()
        families = table.list_column_families()
        self.assertEqual(sorted(families), ["f", "g"])
        self.assertEqual(families["g"].gc_rule, added.gc_rule)
        added.delete()
        self.assertEqual(sorted(table.list_column_families()), ["f"])

        row = table.direct_row(b"row")
        for i in range(4):
            row.set_cell("f", b"q", b"%d" % i, datetime.datetime.fromtimestamp(1600000000 + i, datetime.timezone.utc))
        row.commit()
        self.assertEqual([c.value for c in table.read_row(b"row").cells["f"][b"q"]], [b"3", b"2"])
        table.drop_by_prefix(b"ro")
        self.assertIsNone(table.read_row(b"row"))
        table.truncate()
        self.assertEqual(list(table.read_rows()), [])
        table.delete()
        self.assertFalse(table.exists())

    def test_batches_and_filters(self):
        table = self.instance.table("classic")
        table.create(column_families={"f": column_family.MaxVersionsGCRule(1)})
        self.addCleanup(table.delete)
        rows = []
        for i in range(100):
            row = table.direct_row(b"row%03d" % i)
            row.set_cell("f", b"q", b"%d" % i)
            rows.append(row)
        self.assertTrue(all(s.code == 0 for s in table.mutate_rows(rows)))
        got = [r.row_key for r in table.read_rows(start_key=b"row010", end_key=b"row020", limit=5)]
        self.assertEqual(got, [b"row%03d" % i for i in range(10, 15)])
        matching = classic_filters.RowFilterChain(filters=[
            classic_filters.RowKeyRegexFilter(b"row0[0-4]5"), classic_filters.StripValueTransformerFilter(True)])
        self.assertEqual([r.cell_value("f", b"q") for r in table.read_rows(filter_=matching)], [b""] * 5)
        with self.assertRaises(exceptions.InvalidArgument):
            list(table.read_rows(filter_=classic_filters.RowKeyRegexFilter(b"(")))

        conditional = table.conditional_row(b"row000", classic_filters.ValueRegexFilter(b"0"))
        conditional.set_cell("f", b"matched", b"yes", state=True)
        conditional.set_cell("f", b"matched", b"no", state=False)
        self.assertTrue(conditional.commit())
        append = table.append_row(b"row000")
        append.increment_cell_value("f", b"n", 7)
        append.append_cell_value("f", b"matched", b"!")
        result = append.commit()
        self.assertEqual(struct.unpack(">q", result["f"][b"n"][0][0])[0], 7)
        self.assertEqual(result["f"][b"matched"][0][0], b"yes!")

    def test_instances(self):
        instance = self.client.instance("made-here", display_name="Made", labels={"env": "test"},
                                        instance_type=enums.Instance.Type.PRODUCTION)
        cluster = instance.cluster("made-here-c1", location_id="us-central1-b", serve_nodes=3,
                                   default_storage_type=enums.StorageType.SSD)
        instance.create(clusters=[cluster]).result(timeout=10)
        self.addCleanup(instance.delete)
        instance.reload()
        self.assertEqual(instance.display_name, "Made")
        self.assertIn("made-here", [i.instance_id for i in self.client.list_instances()[0]])
        second = instance.cluster("made-here-c2", location_id="us-central1-c", serve_nodes=1)
        second.create().result(timeout=10)
        second.serve_nodes = 4
        second.update().result(timeout=10)
        self.assertEqual(sorted((c.cluster_id, c.serve_nodes) for c in instance.list_clusters()[0]),
                         [("made-here-c1", 3), ("made-here-c2", 4)])
        second.delete()

        profile = instance.app_profile("reader", routing_policy_type=enums.RoutingPolicyType.SINGLE,
                                       cluster_id="made-here-c1", allow_transactional_writes=False)
        profile.create(ignore_warnings=True)
        profile.description = "for reading"
        profile.update(ignore_warnings=True).result(timeout=10)
        self.assertIn("reader", [p.app_profile_id for p in instance.list_app_profiles()])
        profile.delete(ignore_warnings=True)
        self.assertFalse(profile.exists())

    def test_backups(self):
        table = self.instance.table("backed")
        table.create(column_families={"f": None})
        self.addCleanup(table.delete)
        row = table.direct_row(b"row")
        row.set_cell("f", b"q", b"kept")
        row.commit()
        expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=8)
        backup = table.backup("backup", cluster_id=INSTANCE + "-c1", expire_time=expires)
        backup.create().result(timeout=10)
        self.addCleanup(backup.delete)
        self.assertTrue(backup.exists())
        table.restore("restored", cluster_id=INSTANCE + "-c1", backup_id="backup").result(timeout=10)
        restored = self.instance.table("restored")
        self.addCleanup(restored.delete)
        self.assertEqual(restored.read_row(b"row").cell_value("f", b"q"), b"kept")


class Data(unittest.TestCase):
    """The data client."""

    @classmethod
    def setUpClass(cls):
        cls.admin = Client(project=PROJECT, admin=True).instance(INSTANCE).table("data")
        cls.admin.create(column_families={"f": column_family.MaxVersionsGCRule(3), "g": None})
        cls.client = BigtableDataClient(project=PROJECT)
        cls.table = cls.client.get_table(INSTANCE, "data")
        with cls.table.mutations_batcher() as batcher:
            for p in "abc":
                for i in range(10):
                    batcher.append(RowMutationEntry(f"{p}{i}", [
                        SetCell("f", "n", str(i), timestamp_micros=1000), SetCell("g", "big", p * 1000, timestamp_micros=2000)]))

    @classmethod
    def tearDownClass(cls):
        cls.table.close()
        cls.client.close()
        cls.admin.delete()

    def keys(self, **query):
        return [r.row_key.decode() for r in self.table.read_rows(ReadRowsQuery(**query))]

    def test_reads(self):
        self.assertEqual(len(self.keys()), 30)
        self.assertEqual(self.keys(row_keys=["c3", "a1", "absent"]), ["a1", "c3"])
        self.assertEqual(self.keys(row_ranges=RowRange("b8", "c1", end_is_inclusive=True)), ["b8", "b9", "c0", "c1"])
        self.assertEqual(self.keys(limit=2, row_filter=row_filters.RowKeyRegexFilter("[bc]7")), ["b7", "c7"])
        self.assertEqual(self.keys(row_filter=row_filters.ConditionalRowFilter(
            predicate_filter=row_filters.ValueRangeFilter(b"9", b"9"), true_filter=row_filters.PassAllFilter(True),
            false_filter=row_filters.BlockAllFilter(True))), ["a9", "b9", "c9"])
        row = self.table.read_row("a4", row_filter=row_filters.RowFilterChain([
            row_filters.ColumnQualifierRegexFilter("n"), row_filters.CellsColumnLimitFilter(1)]))
        self.assertEqual(cells(row), ["f:n=4"])
        both = self.table.read_row("a4", row_filter=row_filters.RowFilterUnion([
            row_filters.ColumnRangeFilter("f", "n"), row_filters.ApplyLabelFilter("everything")]))
        self.assertEqual(sorted((c.family, c.labels) for c in both.cells),
                         [("f", []), ("f", ["everything"]), ("g", ["everything"])])
        self.assertTrue(self.table.row_exists("a0"))
        self.assertFalse(self.table.row_exists("absent"))
        sharded = self.table.read_rows_sharded(ReadRowsQuery(row_ranges=[RowRange("a", "b"), RowRange("c", "d")]).shard(
            self.table.sample_row_keys()))
        self.assertEqual(len(sharded), 20)
        with self.assertRaises(exceptions.InvalidArgument):
            self.keys(row_filter=row_filters.RowKeyRegexFilter("("))

    def test_writes(self):
        self.table.mutate_row("w", [SetCell("f", "a", b"1", timestamp_micros=1000), SetCell("f", "b", b"2", timestamp_micros=1000)])
        self.table.mutate_row("w", DeleteRangeFromColumn("f", b"a"))
        self.assertEqual(cells(self.table.read_row("w")), ["f:b=2"])
        self.table.mutate_row("w", SetCell("f", "now", b"3"))
        written = self.table.read_row("w")["f", b"now"][0].timestamp_micros
        self.assertLess(abs(written / 1e6 - datetime.datetime.now().timestamp()), 60)
        self.table.mutate_row("w", DeleteAllFromRow())
        self.assertIsNone(self.table.read_row("w"))
        with self.assertRaises(exceptions.NotFound):
            self.table.mutate_row("w", SetCell("absent", "a", b"1", timestamp_micros=1000))
        with self.assertRaises(exceptions.InvalidArgument):
            self.table.mutate_row("w", SetCell("f", "a", b"1", timestamp_micros=1001))
        with self.assertRaises(MutationsExceptionGroup) as failed:
            self.table.bulk_mutate_rows([
                RowMutationEntry("w1", [SetCell("f", "a", b"1", timestamp_micros=1000)]),
                RowMutationEntry("w2", [SetCell("absent", "a", b"1", timestamp_micros=1000)])])
        self.assertEqual([e.index for e in failed.exception.exceptions], [1])
        self.assertIsInstance(failed.exception.exceptions[0].__cause__, exceptions.NotFound)
        self.assertTrue(self.table.row_exists("w1"))
        self.table.mutate_row("w1", DeleteAllFromRow())

    def test_transactions(self):
        swap = dict(predicate=row_filters.ColumnQualifierRegexFilter("state"),
                    true_case_mutations=SetCell("f", "state", b"again", timestamp_micros=1000),
                    false_case_mutations=SetCell("f", "state", b"first", timestamp_micros=1000))
        self.assertFalse(self.table.check_and_mutate_row("x", **swap))
        self.assertTrue(self.table.check_and_mutate_row("x", **swap))
        row = self.table.read_modify_write_row("x", [IncrementRule("f", "n", -5), AppendValueRule("f", "state", b"!")])
        self.assertEqual([int(row["f", b"n"][0]), row["f", b"state"][0].value], [-5, b"again!"])
        self.table.mutate_row("x", DeleteAllFromRow())

    def test_large_row(self):
        for i in range(3):
            self.table.mutate_row("z", SetCell("g", f"q{i}", bytes([i]) * (3 << 20), timestamp_micros=1000))
        row = self.table.read_row("z")
        self.assertEqual([c.value for c in row.cells], [bytes([i]) * (3 << 20) for i in range(3)])
        self.table.mutate_row("z", DeleteAllFromRow())

    def test_query(self):
        rows = list(self.client.execute_query(
            "SELECT _key, f['n'] AS n, g FROM data WHERE STARTS_WITH(_key, @prefix) ORDER BY _key", INSTANCE, parameters={"prefix": b"b"}))
        self.assertEqual([(r["_key"], r["n"]) for r in rows], [(b"b%d" % i, b"%d" % i) for i in range(10)])
        self.assertEqual(rows[0]["g"], {b"big": b"b" * 1000})
        [row] = self.client.execute_query("SELECT COUNT(*) AS n, 1.5 AS x, [1, NULL] AS a, DATE '2024-02-29' AS d FROM data", INSTANCE)
        self.assertEqual((row["n"], row["x"], row["a"]), (30, 1.5, [1, None]))
        self.assertEqual((row["d"].year, row["d"].month, row["d"].day), (2024, 2, 29))
        with self.assertRaises(exceptions.InvalidArgument):
            list(self.client.execute_query("SELECT nonsense FROM data", INSTANCE))

    def test_async(self):
        async def run():
            async with BigtableDataClientAsync(project=PROJECT) as client, client.get_table(INSTANCE, "data") as table:
                reads = [table.read_row(f"{p}{i}") for p in "abc" for i in range(10)]
                rows = await asyncio.gather(*reads)
                streamed = [r.row_key async for r in await table.read_rows_stream(ReadRowsQuery(row_ranges=RowRange("a", "c")))]
                return rows, streamed
        rows, streamed = asyncio.run(run())
        self.assertEqual([r.row_key.decode() for r in rows], [f"{p}{i}" for p in "abc" for i in range(10)])
        self.assertEqual(len(streamed), 20)


if __name__ == "__main__":
    assert os.environ.get("BIGTABLE_EMULATOR_HOST"), "BIGTABLE_EMULATOR_HOST is not set"
    unittest.main()
