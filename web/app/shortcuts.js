// Keys outside of text fields, and the list of them. One table is both.

import { byId, element } from './dom.js';

// [shown keys, what it does, the key that runs `action` (none: described only)]
export const SHORTCUTS = [
    [['Enter'], 'Apply the prompt'],
    [['Shift', 'Enter'], 'Apply with the other transition'],
    [['Esc'], 'Leave the prompt box, leave full screen'],
    [['/'], 'Back to the prompt box', 'focus'],
    [['Space'], 'Pause or go on', 'pause'],
    [['T'], 'Keep scene, new scene or blend', 'transition'],
    [['L'], 'As I type: apply when you pause typing', 'live'],
    [['R'], 'Start over with the same seed', 'reset'],
    [['N'], 'Start over with a new seed', 'dice'],
    [['V'], 'Record, or save the recording', 'record'],
    [['H'], 'Numbers on the picture', 'stats'],
    [['S'], 'Settings', 'settings'],
    [['F'], 'Full screen', 'full'],
    [['←', '→'], 'On the timeline: another moment; Enter goes back to it'],
    [['?'], 'This list', 'help'],
];

const BY_KEY = new Map(SHORTCUTS.filter(([, , action]) => action)
    .map(([keys, , action]) => [keys[0] === 'Space' ? ' ' : keys[0].toLowerCase(), action]));

// actions: one function per action of the table.
export function listenForShortcuts(actions) {
    document.addEventListener('keydown', (event) => {
        if (event.key === 'Escape') {
            actions.escape(event);
            return;
        }
        if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || takesKeys(event.target, event.key)) {
            return;
        }
        const action = BY_KEY.get(event.key.toLowerCase());
        if (action && !document.querySelector('dialog[open]')) {
            event.preventDefault();
            actions[action](event);
        }
    });
}

export function describeShortcuts() {
    byId('shortcuts').replaceChildren(...SHORTCUTS.flatMap(([keys, text]) => [
        element('dt', {}, ...keys.map((key) => element('kbd', {}, key))),
        element('dd', {}, text),
    ]));
}

// Text goes where it is typed, and Space presses the button that has the focus.
function takesKeys(target, key) {
    if (target.matches('textarea, select, input:not([type="radio"]):not([type="checkbox"])')) {
        return true;
    }
    return key === ' ' && target.matches('button, input, a');
}
