// The sample messages of docs/protocols/twilio-taskrouter.md, section 6, as that document has them.

import { readFileSync } from 'node:fs';

// samples gives the messages with the SIDs of the worker, her activity and her voice channel in place of the document's. What ends the
// reservation comes after what belongs to it: the SDK passes on nothing about a task whose reservation is over.
export function samples(worker, activity, channel) {
    const text = readFileSync(new URL('../../docs/protocols/twilio-taskrouter.md', import.meta.url), 'utf8');
    const section = text.slice(text.indexOf('\n## 6. '), text.indexOf('\n## 7. '));
    const ends = (m) => (m.event_type === 'reservation.canceled' || m.event_type === 'reservation.failed' ? 1 : 0);
    const messages = [...section.matchAll(/```json\n(.*?)```/gs)]
        .map((block) => JSON.parse(block[1]
            .replaceAll('WK00000000000000000000000000000001', worker)
            .replaceAll('WA00000000000000000000000000000002', activity)
            .replaceAll('WC00000000000000000000000000000001', channel)))
        .sort((a, b) => ends(a) - ends(b));
    if (messages.length < 8) throw new Error(`only ${messages.length} samples found: has the document another form now?`);
    return messages.map((m) => JSON.stringify(m));
}
