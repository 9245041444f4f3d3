// The scenarios of README.md, section 4. Each throws an Error if the SDK does not see what it must.

import assert from 'node:assert/strict';
import { samples } from './samples.mjs';

// expecting is TR_EXPECT.
const expecting = (...events) => ({ TR_EXPECT: events.join(',') });

async function until(condition) {
    const deadline = Date.now() + 20000;
    while (!await condition()) {
        if (Date.now() > deadline) throw new Error(`gave up waiting until ${condition}`);
        await new Promise((resolve) => { setTimeout(resolve, 50); });
    }
}

// offerOnce is most scenarios: one reservation as soon as the SDK is ready.
const offerOnce = (env) => async ({ simulator, start }) => {
    const client = start(env);
    await client.seen('ready');
    await simulator.offer();
    await client.met();
    return client;
};

const rejected = {
    ...expecting('ready', 'reservationCreated', 'call.ok', 'reservation.rejected'), TR_ON_RESERVATION: 'reject',
};

export const scenarios = [
    {
        name: '1 full path',
        async run({ simulator, start }) {
            await simulator.do('worker.activity', { worker: simulator.worker, activity: 'Offline' });
            const client = start({
                ...expecting('ready', 'activityUpdated', 'reservationCreated', 'reservation.accepted', 'reservation.wrapup', 'reservation.completed'),
                TR_ON_READY: 'activity=Available', TR_ON_RESERVATION: 'accept,wrap,complete',
            });
            await client.seen('activityUpdated');
            await simulator.offer();
            await client.met();
            const order = client.events.filter((e) => e.event.startsWith('call.') || e.event.startsWith('reservation.')).map((e) => e.call || e.event);
            assert.deepEqual(order.slice(1, 7), ['accept', 'reservation.accepted', 'wrap', 'reservation.wrapup', 'complete', 'reservation.completed'],
                'answers first, events second');
        },
    },
    { name: '2 reject', run: offerOnce(rejected) },
    {
        name: '3 task commands with version check',
        async run({ simulator, start }) {
            await offerOnce({
                ...expecting('ready', 'reservationCreated', 'reservation.accepted', 'task.completed'),
                TR_VERSION_CHECK: 'true', TR_SET_OFFLINE: 'false', TR_ON_RESERVATION: 'accept,task-wrap,task-complete',
            })({ simulator, start });
            await until(async () => (await simulator.state()).workers[0].now === 0);
            assert.equal((await simulator.state()).presence_changes, 0, 'setWorkerOfflineIfDisconnected=false was not understood');
        },
    },
    {
        name: '4 attributes',
        async run({ start }) {
            const client = start({ ...expecting('ready', 'call.ok', 'attributesUpdated'), TR_ON_READY: 'attributes={"languages":["fi"]}' });
            await client.met();
            assert.deepEqual(client.all('attributesUpdated')[0].attributes, { languages: ['fi'] });
        },
    },
    {
        name: '5 token refresh',
        async run({ simulator, start }) {
            const client = start({
                ...expecting('ready', 'tokenExpired', 'tokenUpdated', 'tokenExpired'), TR_TOKEN: simulator.token(9), TR_TOKEN_NEXT: simulator.token(),
            });
            await client.met();
            assert.equal(client.count('disconnected'), 0, 'a refresh must not touch the socket');
        },
    },
    {
        name: '6 the new token is used',
        async run({ simulator, start }) {
            const client = start({
                ...expecting('ready', 'tokenExpired', 'tokenUpdated', 'disconnected', 'ready'), TR_TOKEN: simulator.token(12), TR_TOKEN_NEXT: simulator.token(),
            });
            await client.seen('tokenUpdated');
            await simulator.fault('close');
            await client.met();
            const lives = client.all('signaling.init').map((e) => e.payload.token_lifetime);
            assert.ok(lives[0] <= 12_000 && lives[1] > 3_000_000, `lifetimes told: ${lives}`);
        },
    },
    {
        name: '7 expiry without refresh',
        async run({ simulator, start }) {
            const client = start({ TR_TOKEN: simulator.token(8), TR_TIMEOUT_MS: '11000' });
            await client.met();
            assert.deepEqual([client.count('ready'), client.count('tokenExpired'), client.count('disconnected')], [1, 1, 1]);
            assert.equal(client.all('disconnected')[0].reason, 'token expired');
            assert.equal((await simulator.state()).workers[0].opened, 1, 'no reconnect after expiry');
        },
    },
    {
        name: '8 the server closes',
        async run({ simulator, start }) {
            const client = start(expecting('ready', 'disconnected', 'ready', 'reservationCreated', 'reservation.timeout'));
            await client.seen('ready');
            await simulator.fault('close', { code: 1001, reason: 'going away' });
            await client.seen('ready', 2);
            const { reservation } = await simulator.offer();
            await simulator.do('reservation.timeout', { reservation });
            await client.met();
            assert.equal(client.all('disconnected')[0].reason, 'going away');
            assert.equal(client.count('reservationCreated'), 1, 'each event once');
        },
    },
    {
        name: '9 TCP reset',
        async run({ simulator, start }) {
            const client = start(expecting('ready', 'disconnected', 'ready'));
            await client.seen('ready');
            await simulator.fault('reset');
            await client.met();
            assert.match(client.all('disconnected')[0].reason, /errorCode=1006/);
        },
    },
    {
        name: '10 ten refused upgrades',
        async run({ simulator, start }) {
            await simulator.fault('refuse', { code: 503 });
            const client = start(expecting('error', 'disconnected', 'ready'));
            await until(async () => (await simulator.state()).refused.some((r) => r.status === 503 && r.count >= 10));
            await simulator.fault('clear');
            await client.met();
            assert.ok(client.count('error') >= 10 && client.all('error').every((e) => e.name === 'GATEWAY_CONNECTION_FAILED'));
        },
    },
    {
        name: '11 silence',
        simulator: ['--heartbeat', '1h'],
        async run({ start }) {
            const client = start({ ...expecting('ready', 'disconnected', 'ready'), TR_TIMEOUT_MS: '75000' });
            await client.met();
            const [lost] = client.all('disconnected');
            assert.ok(lost.reason === 'Connection lost' && lost.t > 29000, `${lost.reason} after ${lost.t} ms`);
        },
    },
    {
        name: '12 every other event',
        simulator: ['--workers', '2'],
        async run({ simulator, start }) {
            const client = start(expecting('ready', 'reservation.timeout', 'reservation.canceled', 'task.canceled', 'reservation.rescinded', 'task.updated',
                'channel.capacityUpdated', 'channel.availabilityUpdated', 'attributesUpdated', 'reservationFailed'));
            await client.seen('ready');
            const { worker } = simulator;
            await simulator.do('reservation.timeout', { reservation: (await simulator.offer()).reservation });
            await simulator.do('task.cancel', { task: (await simulator.offer()).task, code: 1001 });
            await client.seen('task.canceled');
            const both = await simulator.offer(simulator.ready.workers);
            await simulator.do('reservation.accept', { reservation: both.others[0] });
            await simulator.do('task.update', { task: (await simulator.offer()).task });
            await simulator.do('worker.channel', { worker, channel: 'voice', capacity: 5 });
            await simulator.do('worker.channel', { worker, channel: 'voice', available: false });
            await simulator.do('worker.attributes', { worker });
            await simulator.do('worker.outbound-failed', { worker });
            await client.met();
            assert.equal(client.all('reservation.canceled')[0].canceledReasonCode, 1001);
        },
    },
    {
        name: '13 odd frames',
        async run({ simulator, start }) {
            const client = start(expecting('ready', 'error', 'reservationCreated'));
            await client.seen('ready');
            await simulator.send('\n');
            await simulator.send('');
            await simulator.fault('ping');
            await simulator.fault('unknown-type');
            await simulator.fault('not-json');
            await simulator.offer();
            await client.met();
            assert.deepEqual(client.all('error').map((e) => e.name), ['INVALID_GATEWAY_MESSAGE']);
            assert.equal(client.count('disconnected'), 0, 'the socket stays');
        },
    },
    {
        name: '14 error event of the server',
        async run({ simulator, start }) {
            const client = start(expecting('ready', 'error'));
            await client.seen('ready');
            await simulator.send('{"event_type":"error","payload":{"message":"told by the server"}}');
            await client.met();
            assert.equal(client.all('error')[0].message, 'told by the server');
        },
    },
    {
        name: '15 two clients evict each other',
        async run({ simulator, start }) {
            const env = { TR_CLOSE_EXISTING: 'true' };
            const clients = [start(env), start(env)];
            await until(async () => (await simulator.state()).evictions >= 4);
            for (const c of clients) await c.seen('disconnected');
            assert.equal((await simulator.state()).workers[0].max, 1, 'never two sockets at once');
        },
    },
    {
        name: '16 disconnect',
        async run({ simulator, start }) {
            const client = start({ TR_ON_READY: 'disconnect', TR_TIMEOUT_MS: '4000' });
            await client.met();
            assert.equal(client.all('disconnected')[0].reason, 'SDK Disconnect');
            assert.equal((await simulator.state()).workers[0].opened, 1, 'no reconnect');
        },
    },
    {
        name: '19 the samples of the protocol notes',
        async run({ simulator, start }) {
            const client = start(expecting('ready', 'activityUpdated', 'channel.capacityUpdated', 'reservationCreated', 'reservation.accepted', 'task.updated',
                'reservation.canceled', 'reservationFailed')); // of the transfer nothing is seen: it is not one that this SDK asked for
            const { sid, activity, channels } = await client.seen('ready');
            for (const sample of samples(sid, activity.sid, channels.voice)) await simulator.send(sample);
            await client.met();
        },
    },
    {
        name: '20 outbound task',
        async run({ simulator, start }) {
            await simulator.do('worker.activity', { worker: simulator.worker, activity: 'Available' });
            const client = start({
                ...expecting('ready', 'call.ok', 'reservationCreated'),
                TR_ON_READY: 'create-task=WW00000000000000000000000000000001:WQ00000000000000000000000000000003',
            });
            await client.met();
        },
    },
    {
        name: '21 transfer to a worker, taken',
        simulator: ['--workers', '2'],
        async run({ simulator, start }) {
            const [, other] = simulator.ready.workers;
            await simulator.do('worker.activity', { worker: other, activity: 'Available' });
            const client = start({
                ...expecting('ready', 'reservation.accepted', 'transfer.initiated', 'transfer.completed'), TR_ON_RESERVATION: `accept,transfer=${other}`,
            });
            const target = start({ ...expecting('ready', 'reservationCreated', 'reservation.accepted'), TR_TOKEN: simulator.token(3600, other), TR_ON_RESERVATION: 'accept' });
            await Promise.all([client.seen('ready'), target.seen('ready')]);
            await simulator.offer();
            await Promise.all([client.met(), target.met()]);
        },
    },
    {
        name: '22 transfer, canceled',
        simulator: ['--workers', '2'],
        async run({ simulator, start }) {
            const [, other] = simulator.ready.workers;
            await simulator.do('worker.activity', { worker: other, activity: 'Available' });
            await offerOnce({
                ...expecting('ready', 'transfer.initiated', 'transfer.canceled'), TR_ON_RESERVATION: `accept,transfer=${other},cancel-transfer`,
            })({ simulator, start });
        },
    },
    {
        name: '23 a workload',
        simulator: ['--workers', '3'],
        async run({ simulator, start }) {
            const client = start(expecting('ready', 'error'));
            await client.seen('ready');
            for (let i = 0; i < 20; i += 1) { // many events in a second leave nobody available
                for (const worker of simulator.ready.workers) await simulator.do('worker.activity', { worker, activity: 'Available' });
                await simulator.do('step', { count: 40 });
            }
            await simulator.send('{"event_type":"error","payload":{"message":"the end"}}');
            await client.met();
            assert.equal(client.count('disconnected'), 0);
            assert.ok(client.count('reservation.completed') > 10, `too little was seen: ${client.count('reservation.completed')} completed`);
        },
    },
    {
        name: '24 a failed start-up read',
        async run({ simulator, start }) {
            await simulator.fault('fail', { route: 'GET Workers/{WK}', code: 429, count: 1 });
            const client = start(expecting('error', 'disconnected', 'ready'));
            await client.seen('error');
            await simulator.fault('close');
            await client.met();
        },
    },
    {
        name: '26 the order of the start-up reads',
        async run({ simulator, start }) {
            // The answer comes late, so that reads which did not wait for it would be answered first.
            await simulator.fault('slow', { route: 'GET Workers/{WK}', delay_ms: 500 });
            const client = start({ TR_EXPECT: 'ready' });
            await client.met();
            const [first, ...rest] = (await simulator.state()).workers[0].answered;
            assert.equal(first, 'GET Workers/{WK} v1');
            assert.deepEqual(rest.sort(), ['GET Activities v1', 'GET Workers/{WK}/Reservations v2', 'GET Workers/{WK}/WorkerChannels v1']);
        },
    },
    {
        name: '27 Flex: offline without a socket',
        simulator: ['--flex', '--offline-after', '1h'],
        async run({ simulator, start }) {
            await simulator.do('worker.activity', { worker: simulator.worker, activity: 'Available' });
            const activity = async () => (await simulator.state()).workers[0].activity;
            const client = start({ TR_ON_READY: 'disconnect', TR_SET_OFFLINE: 'true', TR_TIMEOUT_MS: '4000' });
            await client.seen('ready');
            assert.equal(await activity(), 'Available');
            await until(async () => await activity() === 'Offline');
        },
    },
    // Negative control: were the SDK not to notice a missing field, or this program not to notice the SDK, all of the above would prove nothing.
    {
        name: '25 negative control: a field left out',
        mustFailWith: 'the SDK threw',
        async run({ simulator, start }) {
            await simulator.fault('omit', { field: 'reservation_timeout' });
            const client = start(rejected);
            await client.seen('ready');
            await simulator.offer();
            await client.seen('uncaught');
        },
    },
];
