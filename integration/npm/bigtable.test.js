// Google's Bigtable client for Node.js against the server that
// BIGTABLE_EMULATOR_HOST names. The Go test beside it starts one.
import assert from 'node:assert/strict';
import {after, before, test} from 'node:test';
import {Bigtable, SqlTypes} from '@google-cloud/bigtable';

assert.ok(process.env.BIGTABLE_EMULATOR_HOST, 'BIGTABLE_EMULATOR_HOST is not set');

const bigtable = new Bigtable({projectId: 'project'});
const instance = bigtable.instance('instance');
const table = instance.table('rows');

// cells returns "family:qualifier=value" of a row's newest cells.
const cells = row =>
  Object.entries(row.data).flatMap(([family, columns]) =>
    Object.entries(columns).map(([qualifier, c]) => `${family}:${qualifier}=${c[0].value}`));

const keys = rows => rows.map(row => row.id);

const code = n => error => {
  assert.equal(error.code, n, error.message);
  return true;
};

const INVALID_ARGUMENT = 3, NOT_FOUND = 5, ALREADY_EXISTS = 6;

before(async () => {
  await table.create({ // the client takes splits as bytes only
    families: [{name: 'f', rule: {versions: 3}}, {name: 'counts'}],
    splits: [Buffer.from('b'), Buffer.from('c')],
  });
});

after(async () => {
  await table.delete();
  await bigtable.close();
});

test('tables and families', async () => {
  const [exists] = await table.exists();
  assert.ok(exists);
  const [families] = await table.getFamilies();
  assert.deepEqual(families.map(f => f.id).sort(), ['counts', 'f']);

  const other = instance.table('other');
  await other.create();
  await assert.rejects(other.create(), code(ALREADY_EXISTS));
  const [family] = await other.createFamily('g', {rule: {age: {seconds: 3600, nanos: 0}, versions: 2, union: true}});
  assert.equal((await family.getMetadata())[0].gcRule.union.rules.length, 2);
  await family.setMetadata({rule: {versions: 5}});
  const [metadata] = await family.getMetadata();
  assert.equal(metadata.gcRule.maxNumVersions, 5);
  await family.delete();
  await assert.rejects(family.delete(), code(NOT_FOUND));

  const [tables] = await instance.getTables();
  assert.deepEqual(tables.map(t => t.id.split('/').pop()).sort(), ['other', 'rows']);
  await other.delete();
  assert.deepEqual(await other.exists(), [false]);
  await assert.rejects(other.row('x').get(), code(NOT_FOUND));
  await assert.rejects(instance.table('no good').create(), code(INVALID_ARGUMENT));
});

test('splits', async () => {
  const [samples] = await table.sampleRowKeys();
  assert.deepEqual(samples.map(s => s.key.toString()), ['b', 'c', '']);
  const streamed = [];
  for await (const s of table.sampleRowKeysStream()) streamed.push(s.key.toString());
  assert.deepEqual(streamed, ['b', 'c', '']);
});

test('rows, ranges and filters', async () => {
  const entries = [];
  for (const prefix of ['a', 'b', 'c']) {
    for (let i = 0; i < 10; i++) {
      entries.push({key: `${prefix}${i}`, data: {f: {
        n: {value: `${i}`, timestamp: new Date(1000)},
        big: {value: Buffer.alloc(1000, prefix), timestamp: new Date(2000)},
        bin: {value: Buffer.from([0, 255, i]), timestamp: new Date(1000)},
      }}});
    }
  }
  await table.insert(entries);

  const [all] = await table.getRows({decode: false});
  assert.equal(all.length, 30);
  assert.deepEqual(all[0].data.f.bin[0].value, Buffer.from([0, 255, 0]));
  const read = async options => keys((await table.getRows(options))[0]);
  assert.deepEqual(await read({prefix: 'b', limit: 2}), ['b0', 'b1']);
  assert.deepEqual(await read({prefixes: ['a', 'c'], filter: {column: 'n'}, limit: 11}),
    [...Array(10).keys()].map(i => `a${i}`).concat('c0'));
  assert.deepEqual(await read({keys: ['c3', 'a1', 'absent']}), ['a1', 'c3']);
  assert.deepEqual(await read({start: 'b8', end: 'c1'}), ['b8', 'b9', 'c0', 'c1']);
  assert.deepEqual(await read({ranges: [
    {start: {value: 'a8', inclusive: false}, end: {value: 'b0', inclusive: true}}, {start: 'c9'},
  ]}), ['a9', 'b0', 'c9']);
  assert.deepEqual(await read({filter: {row: /[ac]5/}}), ['a5', 'c5']);
  assert.deepEqual(await read({filter: [{column: 'n'}, {value: {start: '8', end: '9'}}]}),
    ['a8', 'a9', 'b8', 'b9', 'c8', 'c9']);
  assert.deepEqual(await read({filter: {condition: {
    test: [{column: 'n'}, {value: '7'}], pass: {all: true}, fail: {all: false},
  }}}), ['a7', 'b7', 'c7']);

  const [[row]] = await table.getRows({keys: ['a4'], filter: [{family: 'f'}, {column: {name: /n|bin/, cellLimit: 1}}, {value: {strip: true}}]});
  assert.deepEqual(cells(row).sort(), ['f:bin=', 'f:n=']);
  const [[labelled]] = await table.getRows({keys: ['a4'], filter: {interleave: [
    [{column: 'n'}, {label: 'left'}], [{column: 'n'}, {label: 'right'}],
  ]}});
  assert.deepEqual(labelled.data.f.n.map(c => c.labels[0]).sort(), ['left', 'right']);
  await assert.rejects(table.getRows({filter: {row: '('}}), code(INVALID_ARGUMENT));
  await assert.rejects(table.insert([{key: 'x', data: {absent: {q: 'v'}}}]), error => {
    assert.equal(error.name, 'PartialFailureError');
    assert.equal(error.errors[0].code, NOT_FOUND);
    return true;
  });
});

test('streams', async () => {
  const count = 3000;
  const bulk = [];
  for (let i = 0; i < count; i++) {
    bulk.push({key: `stream${String(i).padStart(5, '0')}`, data: {f: {q: {value: 'x'.repeat(500), timestamp: new Date(1000)}}}});
  }
  await table.insert(bulk);
  let n = 0;
  let last = '';
  for await (const row of table.createReadStream({prefix: 'stream'})) {
    assert.ok(row.id > last);
    last = row.id;
    n++;
  }
  assert.equal(n, count);

  // The same by SQL, whose answer comes in several batches.
  const [found] = await sql("SELECT _key, f['q'] AS q FROM `rows` WHERE STARTS_WITH(_key, b'stream')");
  assert.equal(found.length, count);
  assert.equal(found.at(-1).get('_key').toString(), last);
  assert.equal(found[0].get('q').length, 500);

  // A reader that has enough ends the call.
  const some = await new Promise((resolve, reject) => {
    const got = [];
    const stream = table.createReadStream({prefix: 'stream'})
      .on('error', reject)
      .on('data', row => {
        got.push(row.id);
        if (got.length === 10) {
          stream.end();
          resolve(got);
        }
      });
  });
  assert.equal(some.length, 10);

  await table.deleteRows('stream');
  assert.deepEqual(await table.getRows({prefix: 'stream'}), [[]]);
});

test('a row of many megabytes', async () => {
  const row = table.row('large');
  for (let i = 0; i < 3; i++) {
    await row.save({f: {[`q${i}`]: {value: Buffer.alloc(3 << 20, `${i}`), timestamp: new Date(1000)}}});
  }
  const [got] = await row.get({decode: false});
  for (let i = 0; i < 3; i++) {
    assert.deepEqual(got.data.f[`q${i}`][0].value, Buffer.alloc(3 << 20, `${i}`));
  }
  await row.delete();
});

test('versions and mutations', async () => {
  const row = table.row('versions');
  for (const t of [1000, 2000, 3000, 4000]) {
    await row.save({f: {q: {value: `at ${t}`, timestamp: new Date(t)}}});
  }
  const [got] = await row.get();
  assert.deepEqual(got.data.f.q.map(c => c.value), ['at 4000', 'at 3000', 'at 2000']); // the family keeps three
  await row.deleteCells(['f:q']);
  await assert.rejects(row.get(), e => e.name === 'RowError' || e.code === 404);

  await row.save({f: {q: 'now'}});
  const [[now]] = await table.getRows({keys: ['versions']});
  assert.ok(Math.abs(Number(now.data.f.q[0].timestamp) / 1000 - Date.now()) < 60_000);
  await table.mutate([
    {method: 'insert', key: 'versions', data: {f: {p: {value: 'p', timestamp: new Date(1000)}}}},
    {method: 'delete', key: 'versions', data: ['f:q']},
    {method: 'delete', key: 'a0'},
  ]);
  const [after] = await row.get();
  assert.deepEqual(cells(after), ['f:p=p']);
  assert.deepEqual(await table.row('a0').exists(), [false]);
});

test('increments and appends', async () => {
  const row = table.row('counter');
  assert.equal((await row.increment('counts:n'))[0], 1);
  assert.equal((await row.increment('counts:n', 41))[0], 42);
  await Promise.all([...Array(20)].map(() => row.increment('counts:n', -2)));
  assert.equal((await row.increment('counts:n', -1))[0], 1);
  await row.createRules([{column: 'f:text', append: 'one'}, {column: 'f:text', append: ' two'}]);
  const [got] = await row.get(['f:text']);
  assert.equal(got.f.text[0].value, 'one two');
  await assert.rejects(row.increment('f:text'), code(INVALID_ARGUMENT));
});

test('conditional mutations', async () => {
  const row = table.row('condition');
  const insert = value => [{method: 'insert', data: {f: {state: {value, timestamp: new Date(1000)}}}}];
  const is = value => [{column: 'state'}, {value}];
  assert.equal((await row.filter(is('open'), {onMatch: insert('closed'), onNoMatch: insert('open')}))[0], false);
  assert.equal((await row.filter(is('open'), {onMatch: insert('closed'), onNoMatch: insert('open')}))[0], true);
  const [got] = await row.get();
  assert.deepEqual(cells(got), ['f:state=closed']);
});

test('truncation', async () => {
  const other = instance.table('truncated');
  await other.create({families: ['f']});
  await other.insert([...Array(100).keys()].map(i => ({key: `${i}`, data: {f: {q: 'v'}}})));
  await other.truncate();
  assert.deepEqual(await other.getRows(), [[]]);
  await other.delete();
});

test('instances and clusters', async () => {
  const [made, operation] = await bigtable.createInstance('another', {
    displayName: 'Another', labels: {env: 'test'},
    clusters: [{id: 'another-c1', location: 'us-central1-b', nodes: 1}],
  });
  await operation.promise();
  await made.setMetadata({displayName: 'Renamed'});
  const [metadata] = await made.getMetadata();
  assert.equal(metadata.displayName, 'Renamed');
  const [instances] = await bigtable.getInstances();
  assert.ok(instances.some(i => i.id === 'another'));

  const [cluster, adding] = await made.createCluster('another-c2', {location: 'us-central1-c', nodes: 3});
  await adding.promise();
  const [resizing] = await cluster.setMetadata({nodes: 5});
  await resizing.promise();
  const [clusters] = await made.getClusters();
  assert.deepEqual(clusters.map(c => [c.id, c.metadata.serveNodes]).sort(), [['another-c1', 1], ['another-c2', 5]]);
  await cluster.delete();
  await assert.rejects(cluster.getMetadata(), code(NOT_FOUND));
  await made.delete();
});

test('app profiles', async () => {
  const [profile] = await instance.createAppProfile('profile', {routing: 'any', description: 'anywhere', ignoreWarnings: true});
  const [metadata] = await profile.getMetadata();
  assert.equal(metadata.description, 'anywhere');
  await assert.rejects(instance.createAppProfile('profile', {routing: 'any', ignoreWarnings: true}), code(ALREADY_EXISTS));
  const client = new Bigtable({projectId: 'project', appProfileId: 'profile'});
  const [rows] = await client.instance('instance').table('rows').getRows({limit: 1});
  assert.equal(rows.length, 1);
  await client.close();
  await profile.delete({ignoreWarnings: true});
  assert.deepEqual(await profile.exists(), [false]);
});

test('backups', async () => {
  const cluster = instance.cluster('instance-c1');
  const [backup, operation] = await cluster.createBackup('backup', {table, expireTime: new Date(Date.now() + 8 * 3600_000)});
  await operation.promise();
  const [metadata] = await backup.getMetadata();
  assert.equal(metadata.sourceTable.split('/').pop(), 'rows');
  const [restored, restoring] = await backup.restore('restored');
  await restoring.promise();
  const [[row]] = await instance.table('restored').getRows({keys: ['b1'], filter: {column: 'n'}});
  assert.deepEqual(cells(row), ['f:n=1']);
  await restored.delete();
  await backup.delete();
});

test('policies', async () => {
  const [policy] = await table.setIamPolicy({bindings: [{role: 'roles/bigtable.viewer', members: ['user:a@example.com']}]});
  const [kept] = await table.getIamPolicy();
  assert.deepEqual(kept.bindings.map(b => b.role), policy.bindings.map(b => b.role));
  const [permissions] = await table.testIamPermissions(['bigtable.tables.get']);
  assert.deepEqual(permissions, ['bigtable.tables.get']);
});

// sql runs a query with parameters of bytes.
async function sql(query, parameters = {}) {
  const parameterTypes = Object.fromEntries(Object.keys(parameters).map(name => [name, SqlTypes.Bytes()]));
  const [preparedStatement] = await instance.prepareStatement({query, parameterTypes});
  return instance.executeQuery({preparedStatement, parameters});
}

test('SQL', async () => {
  const [rows] = await sql("SELECT f['n'] AS n, f FROM `rows` WHERE _key = @key", {key: Buffer.from('a5')});
  assert.equal(rows.length, 1);
  assert.equal(rows[0].get('n').toString(), '5');
  assert.deepEqual(rows[0].get('f').get(Buffer.from('bin')), Buffer.from([0, 255, 5]));
  const [[row]] = await sql("SELECT COUNT(*) AS n, 1.5 AS x, TRUE AS t, 'é' AS s, ARRAY<INT64>[1, NULL] AS a FROM `rows` WHERE STARTS_WITH(_key, b'b')");
  assert.deepEqual(['n', 'x', 't', 's', 'a'].map(c => row.get(c)), [10n, 1.5, true, 'é', [1n, null]]);
  const [none] = await sql("SELECT _key FROM `rows` WHERE _key = b'absent'");
  assert.equal(none.length, 0);
  await assert.rejects(sql('SELECT nonsense FROM `rows`'), code(INVALID_ARGUMENT));
});

test('replication', async () => {
  const [token] = await table.generateConsistencyToken();
  assert.deepEqual(await table.checkConsistency(token), [true]);
  await table.waitForReplication();
});
