#!/usr/bin/env node
// Drives the vendor's own SDK through the scenarios of README.md, section 4, each against a simulator of its own, and prints one line per
// scenario. Exit code 0: all passed. Usage: node run.mjs [path of bridge] [number or part of a name ...]

import process from 'node:process';
import { Client, Simulator } from './harness.mjs';
import { scenarios } from './scenarios.mjs';

const atOnce = 5;
const [bridge = '../../bin/bridge', ...wanted] = process.argv.slice(2);

async function run(scenario) {
    const began = Date.now();
    const clients = [];
    let simulator;
    let problem = '';
    try {
        simulator = await Simulator.start(bridge, scenario.simulator || []);
        const start = (env = {}) => {
            clients.push(new Client(simulator, env));
            return clients.at(-1);
        };
        await scenario.run({ simulator, start });
        if (clients.some((c) => c.count('uncaught') > 0)) throw new Error('the SDK threw');
        const { client_frames: frames } = await simulator.state();
        if (frames !== 0) throw new Error(`${frames} frames or pings from the SDK, which must never send any`);
    } catch (err) {
        problem = err.message;
    } finally {
        clients.forEach((c) => c.kill());
        if (simulator) await simulator.stop();
    }
    const passed = scenario.mustFailWith ? problem.includes(scenario.mustFailWith) : problem === '';
    const seconds = ((Date.now() - began) / 1000).toFixed(1).padStart(5);
    process.stdout.write(`${passed ? 'ok  ' : 'FAIL'} ${seconds} s  ${scenario.name}${problem === '' ? '' : `: ${problem}`}\n`);
    if (!passed) {
        if (scenario.mustFailWith) process.stdout.write(`     it had to fail with: ${scenario.mustFailWith}\n`);
        for (const c of clients) process.stdout.write(c.transcript());
    }
    return passed;
}

const chosen = scenarios.filter((s) => wanted.length === 0 || wanted.some((w) => s.name === w || s.name.startsWith(`${w} `) || s.name.includes(w)));
const queue = [...chosen];
let failed = 0;
await Promise.all(Array.from({ length: atOnce }, async () => {
    for (let s = queue.shift(); s; s = queue.shift()) {
        if (!await run(s)) failed += 1;
    }
}));
process.stdout.write(`${chosen.length - failed} of ${chosen.length} scenarios passed\n`);
process.exit(failed === 0 && chosen.length > 0 ? 0 : 1);
