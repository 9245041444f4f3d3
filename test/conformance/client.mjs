#!/usr/bin/env node
// Drives Twilio's published `twilio-taskrouter` package against any server that claims to speak the
// event-bridge worker protocol, and prints one JSON object per line for everything the SDK reports.
//
// Required environment:
//   TR_EB_URL   full URL the SDK POSTs commands to,   e.g. http://127.0.0.1:9101/v1/wschannels
//   TR_WS_URL   full URL the SDK opens the socket to, e.g. ws://127.0.0.1:9101/v1/wschannels
//   TR_TOKEN    first JWT
//
// Optional environment:
//   TR_TOKEN_NEXT        JWT handed to worker.updateToken() when tokenExpired fires
//                        (or at TR_UPDATE_TOKEN_AT_MS)
//   TR_TOKEN_NEXT_URL    URL fetched with GET at that moment; its trimmed body is the JWT
//   TR_UPDATE_TOKEN_AT_MS  call updateToken this long after the first `ready`
//   TR_ON_READY          comma list of: activity=<name or sid>, attributes=<json without commas>,
//                        create-task=<workflow sid>:<queue sid>, disconnect
//   TR_ON_RESERVATION    comma list executed in order on each new reservation: accept, reject, wrap,
//                        complete, task-complete, task-wrap, transfer=<worker or queue sid>, cancel-transfer
//   TR_CONNECT_ACTIVITY  connectActivitySid option
//   TR_CLOSE_EXISTING    true|false   closeExistingSessions option
//   TR_SET_OFFLINE       true|false   setWorkerOfflineIfDisconnected option (absent = not sent)
//   TR_VERSION_CHECK     true|false   enableVersionCheck option (sends If-Match)
//   TR_LOG_LEVEL         SDK log level, default silent (SDK logs go to stderr)
//   TR_EXPECT            comma list of event names that must all be seen, in this order
//                        (others may come between); exit 0 as soon as they have been
//   TR_TIMEOUT_MS        give up after this long, default 30000. Exit 1 when TR_EXPECT is
//                        set and was not met, otherwise 0
//
// Event names printed: start, ready, disconnected, error, tokenExpired, tokenUpdated,
// activityUpdated, attributesUpdated, reservationCreated, reservationFailed,
// reservation.<accepted|wrapup|completed|rejected|timeout|canceled|rescinded>,
// task.<updated|canceled|completed|wrapup>, transfer.<initiated|attemptFailed|completed|failed|canceled>, channel.<capacityUpdated|availabilityUpdated>,
// signaling.connected, signaling.init, call.ok, call.error, uncaught, expect, end.

import process from 'node:process';
import taskrouter from 'twilio-taskrouter'; // CommonJS: no named imports

const env = process.env;
const started = Date.now();
const need = (name) => {
    if (!env[name]) {
        process.stderr.write(`missing ${name}\n`);
        process.exit(2);
    }
    return env[name];
};
const list = (text) => (text || '').split(',').map((x) => x.trim()).filter((x) => x);
const flag = (text) => (text === undefined || text === '' ? undefined : text === 'true');

const expected = list(env.TR_EXPECT);
let expectedAt = 0;

function emit(event, data = {}) {
    process.stdout.write(JSON.stringify({ t: Date.now() - started, event, ...data }) + '\n');
    if (expectedAt < expected.length && expected[expectedAt] === event) {
        expectedAt += 1;
        if (expectedAt === expected.length) {
            process.stdout.write(JSON.stringify({ t: Date.now() - started, event: 'expect', met: true }) + '\n');
            setTimeout(() => finish(0), 50);
        }
    }
}

let finished = false;
function finish(code) {
    if (finished) return;
    finished = true;
    process.stdout.write(JSON.stringify({ t: Date.now() - started, event: 'end', code, seen: expectedAt, expected: expected.length }) + '\n');
    process.exit(code);
}

const problem = (err) => ({ name: err && err.name, message: err && err.message ? err.message : String(err) });
process.on('uncaughtException', (err) => emit('uncaught', problem(err)));
process.on('unhandledRejection', (err) => emit('uncaught', problem(err)));
setTimeout(() => finish(expected.length === 0 || expectedAt === expected.length ? 0 : 1), Number(env.TR_TIMEOUT_MS || 30000));

const options = { ebServer: need('TR_EB_URL'), wsServer: need('TR_WS_URL'), logLevel: env.TR_LOG_LEVEL || 'silent' };
if (env.TR_CONNECT_ACTIVITY) options.connectActivitySid = env.TR_CONNECT_ACTIVITY;
if (flag(env.TR_CLOSE_EXISTING) !== undefined) options.closeExistingSessions = flag(env.TR_CLOSE_EXISTING);
if (flag(env.TR_SET_OFFLINE) !== undefined) options.setWorkerOfflineIfDisconnected = flag(env.TR_SET_OFFLINE);
if (flag(env.TR_VERSION_CHECK) !== undefined) options.enableVersionCheck = flag(env.TR_VERSION_CHECK);

emit('start', { options });
const worker = new taskrouter.Worker(need('TR_TOKEN'), options);

const workerView = (w) => ({
    sid: w.sid,
    name: w.name,
    activity: w.activity ? { sid: w.activity.sid, name: w.activity.name, available: w.activity.available } : null,
    available: w.available,
    attributes: w.attributes,
    version: w.version,
    dateStatusChanged: w.dateStatusChanged,
    activities: w.activities ? w.activities.size : 0,
    channels: w.channels ? Object.fromEntries([...w.channels.values()].map((c) => [c.taskChannelUniqueName, c.sid])) : {},
    reservations: w.reservations ? [...w.reservations.keys()] : [],
});
const taskView = (t) => ({
    sid: t.sid, status: t.status, age: t.age, priority: t.priority, attributes: t.attributes,
    queueName: t.queueName, workflowName: t.workflowName, taskChannelUniqueName: t.taskChannelUniqueName,
    reason: t.reason, version: t.version, dateCreated: t.dateCreated, virtualStartTime: t.virtualStartTime,
});
const reservationView = (r) => ({
    sid: r.sid, status: r.status, timeout: r.timeout, version: r.version, workerSid: r.workerSid,
    canceledReasonCode: r.canceledReasonCode, dateUpdated: r.dateUpdated, task: taskView(r.task),
});

async function call(name, fn) {
    try {
        const value = await fn();
        emit('call.ok', { call: name });
        return value;
    } catch (err) {
        emit('call.error', { call: name, ...problem(err) });
        return undefined;
    }
}

async function nextToken() {
    if (env.TR_TOKEN_NEXT_URL) return (await (await fetch(env.TR_TOKEN_NEXT_URL)).text()).trim();
    return env.TR_TOKEN_NEXT;
}

async function refresh(why) {
    const token = await nextToken();
    if (token) await call(`updateToken(${why})`, async () => worker.updateToken(token));
}

const watchedReservations = new WeakSet();
function watch(reservation) {
    if (watchedReservations.has(reservation)) return;
    watchedReservations.add(reservation);
    for (const name of ['accepted', 'wrapup', 'completed', 'rejected', 'timeout', 'canceled', 'rescinded']) {
        reservation.on(name, (r) => emit(`reservation.${name}`, reservationView(r)));
    }
    for (const name of ['updated', 'canceled', 'completed', 'wrapup']) {
        reservation.task.on(name, (t) => emit(`task.${name}`, taskView(t)));
    }
    reservation.task.on('transferInitiated', (transfer) => {
        emit('transfer.initiated', { sid: transfer.sid });
        for (const name of ['attemptFailed', 'completed', 'failed', 'canceled']) transfer.on(name, () => emit(`transfer.${name}`, { sid: transfer.sid }));
    });
}

async function handle(reservation) {
    for (const step of list(env.TR_ON_RESERVATION)) {
        const [name, argument] = step.split('=');
        const run = {
            accept: () => reservation.accept(),
            reject: () => reservation.reject(),
            wrap: () => reservation.wrap(),
            complete: () => reservation.complete(),
            'task-complete': () => reservation.task.complete('done'),
            'task-wrap': () => reservation.task.wrapUp({ reason: 'wrapping' }),
            transfer: () => reservation.task.transfer(argument, { mode: 'WARM' }),
            'cancel-transfer': () => reservation.task.transfers.outgoing.cancel(),
        }[name];
        await call(name, run);
        // Let the socket's event arrive before the next step: the SDK's copy of the task changes with it.
        await new Promise((resolve) => setTimeout(resolve, 150));
    }
}

let readyCount = 0;
async function onReady() {
    readyCount += 1;
    emit('ready', { count: readyCount, ...workerView(worker) });
    worker.reservations.forEach(watch);
    worker.channels.forEach((channel) => {
        for (const name of ['capacityUpdated', 'availabilityUpdated']) {
            channel.on(name, (c) => emit(`channel.${name}`, { sid: c.sid, name: c.taskChannelUniqueName, capacity: c.capacity, available: c.available }));
        }
    });
    if (readyCount > 1) return;
    if (env.TR_UPDATE_TOKEN_AT_MS) setTimeout(() => refresh('timer'), Number(env.TR_UPDATE_TOKEN_AT_MS));
    for (const step of list(env.TR_ON_READY)) {
        if (step.startsWith('activity=')) {
            const wanted = step.slice('activity='.length);
            const activity = [...worker.activities.values()].find((a) => a.sid === wanted || a.name === wanted);
            if (activity) await call(`setAsCurrent(${wanted})`, () => activity.setAsCurrent());
            else emit('call.error', { call: step, message: 'no such activity' });
        } else if (step.startsWith('attributes=')) {
            await call('setAttributes', () => worker.setAttributes(JSON.parse(step.slice('attributes='.length))));
        } else if (step.startsWith('create-task=')) {
            await call('createTask', () => worker.createTask('customer', 'worker', ...step.slice('create-task='.length).split(':')));
        } else if (step === 'disconnect') {
            worker.disconnect();
        }
    }
}

worker.on('ready', onReady);
worker.on('disconnected', ({ message }) => emit('disconnected', { reason: message }));
worker.on('error', (err) => emit('error', problem(err)));
worker.on('tokenExpired', () => { emit('tokenExpired'); refresh('tokenExpired'); });
worker.on('tokenUpdated', () => emit('tokenUpdated'));
worker.on('activityUpdated', (w) => emit('activityUpdated', workerView(w)));
worker.on('attributesUpdated', (w) => emit('attributesUpdated', workerView(w)));
worker.on('reservationFailed', (task) => emit('reservationFailed', { sid: task.sid, reason: task.reason }));
worker.on('reservationCreated', (reservation) => {
    watch(reservation);
    emit('reservationCreated', reservationView(reservation));
    handle(reservation);
});

// Undocumented internals, used only to report what the socket layer does.
const signaling = worker._signaling;
if (signaling && typeof signaling.on === 'function') {
    signaling.on('connected', () => emit('signaling.connected'));
    signaling.on('init', (payload) => emit('signaling.init', { payload }));
}
