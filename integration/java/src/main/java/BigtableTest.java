import static com.google.cloud.bigtable.data.v2.models.Filters.FILTERS;

import com.google.api.gax.rpc.AlreadyExistsException;
import com.google.api.gax.rpc.InvalidArgumentException;
import com.google.api.gax.rpc.NotFoundException;
import com.google.cloud.bigtable.admin.v2.BigtableTableAdminClient;
import com.google.cloud.bigtable.admin.v2.BigtableTableAdminSettings;
import com.google.cloud.bigtable.admin.v2.models.CreateTableRequest;
import com.google.cloud.bigtable.admin.v2.models.GCRules;
import com.google.cloud.bigtable.admin.v2.models.ModifyColumnFamiliesRequest;
import com.google.cloud.bigtable.data.v2.BigtableDataClient;
import com.google.cloud.bigtable.data.v2.BigtableDataSettings;
import com.google.cloud.bigtable.data.v2.models.BulkMutation;
import com.google.cloud.bigtable.data.v2.models.ConditionalRowMutation;
import com.google.cloud.bigtable.data.v2.models.KeyOffset;
import com.google.cloud.bigtable.data.v2.models.MutateRowsException;
import com.google.cloud.bigtable.data.v2.models.Mutation;
import com.google.cloud.bigtable.data.v2.models.Query;
import com.google.cloud.bigtable.data.v2.models.Range.ByteStringRange;
import com.google.cloud.bigtable.data.v2.models.ReadModifyWriteRow;
import com.google.cloud.bigtable.data.v2.models.Row;
import com.google.cloud.bigtable.data.v2.models.RowMutation;
import com.google.cloud.bigtable.data.v2.models.RowMutationEntry;
import com.google.cloud.bigtable.data.v2.models.TableId;
import com.google.cloud.bigtable.data.v2.models.sql.PreparedStatement;
import com.google.cloud.bigtable.data.v2.models.sql.ResultSet;
import com.google.cloud.bigtable.data.v2.models.sql.SqlType;
import com.google.protobuf.ByteString;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Objects;
import java.util.TreeSet;
import java.util.concurrent.Callable;

/**
 * Google's Bigtable client for Java against the server that BIGTABLE_EMULATOR_HOST names. The Go
 * test beside it starts one.
 */
public final class BigtableTest {
  private static final String PROJECT = "project";
  private static final String INSTANCE = "instance";
  private static final TableId TABLE = TableId.of("java");

  private final BigtableTableAdminClient admin;
  private final BigtableDataClient data;

  private BigtableTest(BigtableTableAdminClient admin, BigtableDataClient data) {
    this.admin = admin;
    this.data = data;
  }

  public static void main(String[] args) throws Exception {
    String[] address = System.getenv("BIGTABLE_EMULATOR_HOST").split(":");
    int port = Integer.parseInt(address[1]);
    try (BigtableTableAdminClient admin =
            BigtableTableAdminClient.create(
                BigtableTableAdminSettings.newBuilderForEmulator(address[0], port)
                    .setProjectId(PROJECT)
                    .setInstanceId(INSTANCE)
                    .build());
        BigtableDataClient data =
            BigtableDataClient.create(
                BigtableDataSettings.newBuilderForEmulator(address[0], port)
                    .setProjectId(PROJECT)
                    .setInstanceId(INSTANCE)
                    .build())) {
      BigtableTest t = new BigtableTest(admin, data);
      t.tables();
      t.reads();
      t.writes();
      t.transactions();
      t.largeRows();
      t.longScans();
      t.queries();
      admin.deleteTable("java");
      equal("tables at the end", admin.listTables(), Collections.emptyList());
    }
    System.out.println("PASS");
  }

  private static void equal(String what, Object got, Object want) {
    if (!Objects.equals(got, want)) {
      throw new AssertionError(what + ": " + got + ", want " + want);
    }
    System.out.println("ok: " + what);
  }

  private static <E extends Throwable> E fails(String what, Class<E> with, Callable<?> f) {
    try {
      f.call();
    } catch (Throwable e) {
      if (with.isInstance(e)) {
        System.out.println("ok: " + what);
        return with.cast(e);
      }
      throw new AssertionError(what + ": " + e, e);
    }
    throw new AssertionError(what + " succeeds");
  }

  private static List<String> keys(Iterable<Row> rows) {
    List<String> list = new ArrayList<>();
    rows.forEach(r -> list.add(r.getKey().toStringUtf8()));
    return list;
  }

  private static List<String> cells(Row row) {
    List<String> list = new ArrayList<>();
    row.getCells()
        .forEach(
            c ->
                list.add(
                    c.getFamily() + ":" + c.getQualifier().toStringUtf8() + "@" + c.getTimestamp() + "="
                        + c.getValue().toStringUtf8()));
    return list;
  }

  private void tables() {
    admin.createTable(
        CreateTableRequest.of("java")
            .addFamily("f", GCRules.GCRULES.maxVersions(2))
            .addSplit(ByteString.copyFromUtf8("b"))
            .addSplit(ByteString.copyFromUtf8("c")));
    fails("a table twice", AlreadyExistsException.class, () -> admin.createTable(CreateTableRequest.of("java")));
    admin.modifyFamilies(
        ModifyColumnFamiliesRequest.of("java")
            .addFamily("g")
            .addFamily("h")
            .updateFamily("g", GCRules.GCRULES.union().rule(GCRules.GCRULES.maxVersions(5)).rule(GCRules.GCRULES.maxVersions(7)))
            .dropFamily("h"));
    TreeSet<String> families = new TreeSet<>();
    admin.getTable("java").getColumnFamilies().forEach(f -> families.add(f.getId()));
    equal("families", families, new TreeSet<>(Arrays.asList("f", "g")));
    equal("tables", admin.listTables(), Collections.singletonList("java"));
    List<String> samples = new ArrayList<>();
    for (KeyOffset k : data.sampleRowKeys(TABLE)) {
      samples.add(k.getKey().toStringUtf8());
    }
    equal("splits", samples, Arrays.asList("b", "c", ""));
    admin.awaitReplication("java");
  }

  private void reads() {
    BulkMutation bulk = BulkMutation.create(TABLE);
    for (String p : Arrays.asList("a", "b", "c")) {
      for (int i = 0; i < 10; i++) {
        bulk.add(p + i, Mutation.create().setCell("f", "n", 1000, "" + i).setCell("g", "p", 2000, p));
      }
    }
    data.bulkMutateRows(bulk);
    equal("all rows", keys(data.readRows(Query.create(TABLE))).size(), 30);
    equal("a range, a prefix and a key", keys(data.readRows(Query.create(TABLE).range("a8", "b1").prefix("c9").rowKey("b5"))),
        Arrays.asList("a8", "a9", "b0", "b5", "c9"));
    equal("reversed", keys(data.readRows(Query.create(TABLE).range("a8", "b2").reversed(true).limit(3))), Arrays.asList("b1", "b0", "a9"));
    equal("a filter", keys(data.readRows(Query.create(TABLE).filter(FILTERS.value().exactMatch("7")))), Arrays.asList("a7", "b7", "c7"));
    equal("a condition",
        keys(data.readRows(Query.create(TABLE).filter(
            FILTERS.condition(FILTERS.chain().filter(FILTERS.qualifier().exactMatch("n")).filter(FILTERS.value().range().startClosed("8")))
                .then(FILTERS.limit().cellsPerRow(1)).otherwise(FILTERS.block())))),
        Arrays.asList("a8", "a9", "b8", "b9", "c8", "c9"));
    equal("a row", cells(data.readRow(TABLE, "b3")), Arrays.asList("f:n@1000=3", "g:p@2000=b"));
    equal("labels",
        data.readRow(TABLE, "b3", FILTERS.interleave()
            .filter(FILTERS.chain().filter(FILTERS.family().exactMatch("g")).filter(FILTERS.label("twice")))
            .filter(FILTERS.family().exactMatch("g"))).getCells().size(), 2);
    equal("no row", data.readRow(TABLE, "absent"), null);
    int n = 0;
    Query.QueryPaginator pages = Query.create(TABLE).createPaginator(7);
    for (ByteString last = ByteString.EMPTY; ; n++) {
      ByteString end = ByteString.EMPTY;
      for (Row r : data.readRows(pages.getNextQuery())) {
        end = r.getKey();
      }
      last = end;
      if (last.isEmpty() || !pages.advance(last)) {
        break;
      }
    }
    equal("pages", n, 5);
    TreeSet<ByteString> splits = new TreeSet<>(ByteString.unsignedLexicographicalComparator());
    splits.add(ByteString.copyFromUtf8("b"));
    splits.add(ByteString.copyFromUtf8("c"));
    List<Query> shards = Query.create(TABLE).range(ByteStringRange.unbounded()).shard(splits);
    int sharded = 0;
    for (Query q : shards) {
      sharded += keys(data.readRows(q)).size();
    }
    equal("shards", sharded, 30);
    fails("a bad filter", InvalidArgumentException.class, () -> keys(data.readRows(Query.create(TABLE).filter(FILTERS.key().regex("(")))));
    fails("no table", NotFoundException.class, () -> data.readRow(TableId.of("absent"), "r"));
  }

  private void writes() {
    data.mutateRow(RowMutation.create(TABLE, "w").setCell("f", "a", 1000, "1").setCell("f", "a", 2000, "2").setCell("f", "a", 3000, "3").setCell("f", "b", 1000, "x"));
    equal("two versions", cells(data.readRow(TABLE, "w", FILTERS.qualifier().exactMatch("a"))), Arrays.asList("f:a@3000=3", "f:a@2000=2"));
    data.mutateRow(RowMutation.create(TABLE, "w").deleteCells("f", "a"));
    equal("deleted cells", cells(data.readRow(TABLE, "w")), Collections.singletonList("f:b@1000=x"));
    // The client takes the time itself, in microseconds, and says that it did.
    data.mutateRow(RowMutation.create(TABLE, "w").setCell("f", "now", "y"));
    long at = data.readRow(TABLE, "w", FILTERS.qualifier().exactMatch("now")).getCells().get(0).getTimestamp();
    equal("the time of a write", Math.abs(at / 1000 - System.currentTimeMillis()) < 60_000, true);
    equal("in milliseconds", at % 1000, 0L);
    data.mutateRow(RowMutation.create(TABLE, "w").deleteRow());
    equal("a deleted row", data.readRow(TABLE, "w"), null);
    fails("no family", NotFoundException.class, () -> {
      data.mutateRow(RowMutation.create(TABLE, "w").setCell("absent", "a", 1000, "1"));
      return null;
    });
    fails("a bad time", InvalidArgumentException.class, () -> {
      data.mutateRow(RowMutation.create(TABLE, "w").setCell("f", "a", 1001, "1"));
      return null;
    });
    MutateRowsException some = fails("one of two entries", MutateRowsException.class, () -> {
      data.bulkMutateRows(BulkMutation.create(TABLE)
          .add(RowMutationEntry.create("w1").setCell("f", "a", 1000, "1"))
          .add(RowMutationEntry.create("w2").setCell("absent", "a", 1000, "1")));
      return null;
    });
    equal("which one", some.getFailedMutations().get(0).getIndex(), 1);
    equal("the other", cells(data.readRow(TABLE, "w1")), Collections.singletonList("f:a@1000=1"));
    admin.dropRowRange("java", "w");
    equal("a dropped prefix", keys(data.readRows(Query.create(TABLE).prefix("w"))), Collections.emptyList());
  }

  private void transactions() {
    ConditionalRowMutation swap = ConditionalRowMutation.create(TABLE, "x")
        .condition(FILTERS.qualifier().exactMatch("state"))
        .then(Mutation.create().setCell("f", "state", 1000, "again"))
        .otherwise(Mutation.create().setCell("f", "state", 1000, "first"));
    equal("not matched", data.checkAndMutateRow(swap), false);
    equal("matched", data.checkAndMutateRow(swap), true);
    Row row = data.readModifyWriteRow(ReadModifyWriteRow.create(TABLE, "x").increment("f", "n", -5).append("f", "state", "!"));
    equal("a counter", row.getCells("f", "n").get(0).getValue().asReadOnlyByteBuffer().getLong(), -5L);
    equal("an append", row.getCells("f", "state").get(0).getValue().toStringUtf8(), "again!");
  }

  private void largeRows() {
    for (int i = 0; i < 3; i++) {
      byte[] value = new byte[3 << 20];
      Arrays.fill(value, (byte) i);
      data.mutateRow(RowMutation.create(TABLE, "z").setCell("g", ByteString.copyFromUtf8("q" + i), 1000, ByteString.copyFrom(value)));
    }
    Row row = data.readRow(TABLE, "z");
    equal("cells of a large row", row.getCells().size(), 3);
    for (int i = 0; i < 3; i++) {
      ByteBuffer b = row.getCells("g", "q" + i).get(0).getValue().asReadOnlyByteBuffer();
      equal("a large cell", b.remaining() == 3 << 20 && b.get(b.remaining() - 1) == i, true);
    }
    data.mutateRow(RowMutation.create(TABLE, "z").deleteRow());
  }

  private void longScans() {
    BulkMutation bulk = BulkMutation.create(TABLE);
    for (int i = 0; i < 5000; i++) {
      bulk.add(String.format("many%05d", i), Mutation.create().setCell("f", "q", 1000, String.join("", Collections.nCopies(50, "0123456789"))));
    }
    data.bulkMutateRows(bulk);
    equal("a long scan", keys(data.readRows(Query.create(TABLE).prefix("many"))).size(), 5000);
    admin.dropRowRange("java", "many");
  }

  private void queries() {
    HashMap<String, SqlType<?>> types = new HashMap<>();
    types.put("prefix", SqlType.bytes());
    PreparedStatement p = data.prepareStatement(
        "SELECT _key, f['n'] AS n, g FROM java WHERE STARTS_WITH(_key, @prefix) ORDER BY _key", types);
    List<String> got = new ArrayList<>();
    try (ResultSet r = data.executeQuery(p.bind().setBytesParam("prefix", ByteString.copyFromUtf8("b")).build())) {
      while (r.next()) {
        got.add(r.getBytes("_key").toStringUtf8() + r.getBytes("n").toStringUtf8()
            + r.getMap("g", SqlType.mapOf(SqlType.bytes(), SqlType.bytes())).get(ByteString.copyFromUtf8("p")).toStringUtf8());
      }
    }
    equal("a query", got.size() == 10 && got.get(9).equals("b99b"), true);
    PreparedStatement one = data.prepareStatement("SELECT COUNT(*) AS n, 1.5 AS x, [1, NULL] AS a FROM java WHERE STARTS_WITH(_key, b'c')", Collections.emptyMap());
    try (ResultSet r = data.executeQuery(one.bind().build())) {
      equal("one row", r.next(), true);
      equal("its count", r.getLong("n"), 10L);
      equal("its float", r.getDouble("x"), 1.5);
      equal("its array", r.getList("a", SqlType.arrayOf(SqlType.int64())), Arrays.asList(1L, null));
      equal("no more", r.next(), false);
    }
    fails("a bad query", InvalidArgumentException.class, () -> data.prepareStatement("SELECT nonsense FROM java", Collections.emptyMap()));
  }
}
