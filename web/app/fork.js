// A second window whose stream goes on from a point of this one's.
//
// To fork a session one must know its resume token, which must not stand in an address. So the new window asks the one that
// opened it, and is told once, by a message between two pages of the same origin.

const QUESTION = 'kinetype-fork?';
const MARK = '#fork';
const ASK_MS = 3000;
const ANSWER_MS = 60000; // a slow machine opens a window slowly

// fork: { session, frame }. False when the browser opened no window.
export function openFork(fork) {
    const child = open(location.pathname + location.search + MARK, '_blank');
    if (!child) {
        return false;
    }
    const answer = (event) => {
        if (event.source === child && event.origin === location.origin && event.data === QUESTION) {
            done();
            child.postMessage({ fork }, location.origin);
        }
    };
    const done = () => {
        clearTimeout(timer);
        removeEventListener('message', answer);
    };
    const timer = setTimeout(done, ANSWER_MS);
    addEventListener('message', answer);
    return true;
}

// In the new window: what it is to fork, or null.
export async function takeFork() {
    if (location.hash !== MARK) {
        return null;
    }
    history.replaceState(null, '', location.pathname + location.search); // a reload goes on with what it then has
    const { opener } = window;
    return opener ? ask(opener) : null;
}

function ask(opener) {
    return new Promise((resolve) => {
        const give = (fork) => {
            clearTimeout(timer);
            removeEventListener('message', hear);
            resolve(fork);
        };
        const hear = (event) => {
            if (event.source === opener && event.origin === location.origin && event.data?.fork) {
                give(event.data.fork);
            }
        };
        const timer = setTimeout(() => give(null), ASK_MS);
        addEventListener('message', hear);
        opener.postMessage(QUESTION, location.origin);
    });
}
