// The two processes of a scenario: the simulator, and the SDK in client.mjs.

import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import process from 'node:process';

const patience = 20000; // ms until a scenario gives up waiting
const here = fileURLToPath(new URL('.', import.meta.url));
const clientScript = fileURLToPath(new URL('client.mjs', import.meta.url));

export class Simulator {
    static async start(bridge, args) {
        const s = new Simulator();
        const all = ['simulate', 'taskrouter', '--listen', '127.0.0.1:0', '--workers', '1', '--rate', '0', ...args];
        s.process = spawn(bridge, all, { stdio: ['ignore', 'pipe', 'ignore'] });
        s.ended = new Promise((resolve) => { s.process.once('close', resolve); });
        s.ready = await new Promise((resolve, reject) => {
            s.process.once('error', (err) => reject(new Error(`${bridge}: ${err.message}; build it with: make`)));
            s.process.once('close', (code) => reject(new Error(`the simulator ended with code ${code}`)));
            createInterface({ input: s.process.stdout }).once('line', (line) => resolve(JSON.parse(line)));
        });
        [s.worker] = s.ready.workers;
        return s;
    }

    async stop() {
        this.process.kill();
        await this.ended;
    }

    async request(path, body) {
        const init = body && { method: 'POST', body: JSON.stringify(body) };
        const response = await fetch(this.ready.control_url + path, init);
        const text = await response.text();
        if (!response.ok) throw new Error(`${path} ${JSON.stringify(body)}: ${response.status} ${text}`);
        return text === '' ? undefined : JSON.parse(text);
    }

    do(what, more = {}) { return this.request('/do', { do: what, ...more }); }

    fault(kind, more = {}) { return this.request('/fault', { kind, ...more }); }

    state() { return this.request('/state'); }

    send(text) { return this.do('worker.send', { worker: this.worker, text }); }

    // offer makes a task with a pending reservation for the first worker, or for those given.
    async offer(workers = [this.worker]) {
        const made = await this.do('task.create', { workers });
        return { task: made.task, reservation: made.reservations[0], others: made.reservations.slice(1) };
    }

    // token is an access token (protocol, section 3.1), made here so that the simulator's check is not tested by its own code.
    token(seconds = 3600, worker = this.worker) {
        const r = this.ready;
        const iat = Math.floor(Date.now() / 1000);
        const part = (o) => Buffer.from(JSON.stringify(o)).toString('base64url');
        const body = `${part({ typ: 'JWT', alg: 'HS256', cty: 'twilio-fpa;v=1' })}.${part({
            jti: `${r.api_key}-${iat}`, iss: r.api_key, sub: r.account, iat, exp: iat + seconds,
            grants: { identity: 'alice', task_router: { workspace_sid: r.workspace, worker_sid: worker, role: 'worker' } },
        })}`;
        return `${body}.${createHmac('sha256', r.api_secret).update(body).digest('base64url')}`;
    }
}

export class Client {
    constructor(simulator, env) {
        const url = simulator.ready.event_bridge_url;
        this.events = [];
        this.waiting = [];
        this.process = spawn(process.execPath, [clientScript], {
            cwd: here,
            stdio: ['ignore', 'pipe', 'inherit'],
            // A proxy from the environment would take the SDK's POSTs away.
            env: {
                ...process.env, NO_PROXY: '127.0.0.1', no_proxy: '127.0.0.1', TR_EB_URL: url, TR_WS_URL: url.replace('http', 'ws'), TR_TOKEN: simulator.token(),
                TR_TIMEOUT_MS: String(patience), ...env,
            },
        });
        createInterface({ input: this.process.stdout }).on('line', (line) => {
            this.events.push(JSON.parse(line));
            this.wake();
        });
        this.exited = new Promise((resolve) => {
            this.process.once('close', (code) => {
                this.code = code;
                this.wake();
                resolve(code);
            });
        });
    }

    wake() { this.waiting.splice(0).forEach((resolve) => resolve()); }

    all(event) { return this.events.filter((e) => e.event === event); }

    count(event) { return this.all(event).length; }

    // seen waits for the n-th event of a name and returns it.
    async seen(event, n = 1) {
        while (this.count(event) < n) {
            if (this.code !== undefined) throw new Error(`the client ended with code ${this.code} before event ${event} number ${n}`);
            await new Promise((resolve) => { this.waiting.push(resolve); });
        }
        return this.all(event)[n - 1];
    }

    // met waits for the end and throws unless everything of TR_EXPECT was seen in order.
    async met() {
        const code = await this.exited;
        if (code !== 0) throw new Error(`the client ended with code ${code}: not everything expected was seen in order`);
    }

    kill() { this.process.kill('SIGKILL'); }

    transcript() { return this.events.map((e) => `     ${JSON.stringify(e)}\n`).join(''); }
}
