// What a person chose, kept in this browser; without storage everything works, only nothing is kept.

const PREFIX = 'kinetype.';

export function load(name, fallback) {
    return read(localStorageOrNull(), name) ?? fallback;
}

export function save(name, value) {
    write(localStorageOrNull(), name, value);
}

// The way back into a session over a reload. Taken out when read: a duplicated tab must not take the session over.
export function takeResumeToken() {
    const store = sessionStorageOrNull();
    const token = read(store, 'resume');
    try {
        store?.removeItem(PREFIX + 'resume');
    } catch {
        // Nothing to take out.
    }
    return /^[0-9a-f]{32}$/.test(token ?? '') ? token : null;
}

export function keepResumeToken(token) {
    if (token) {
        write(sessionStorageOrNull(), 'resume', token);
    }
}

// An access token comes in the address's fragment (which never leaves the browser) and is hidden at once.
export function takeAccessToken() {
    const fragment = new URLSearchParams(location.hash.slice(1));
    const token = fragment.get('token');
    if (token) {
        history.replaceState(null, '', location.pathname + location.search);
        keepAccessToken(token);
        return token;
    }
    return read(sessionStorageOrNull(), 'token');
}

export function keepAccessToken(token) {
    write(sessionStorageOrNull(), 'token', token);
}

function read(store, name) {
    try {
        return store?.getItem(PREFIX + name) ?? null;
    } catch {
        return null;
    }
}

function write(store, name, value) {
    try {
        store?.setItem(PREFIX + name, String(value));
    } catch {
        // Full or forbidden.
    }
}

function localStorageOrNull() {
    try {
        return localStorage;
    } catch {
        return null;
    }
}

function sessionStorageOrNull() {
    try {
        return sessionStorage;
    } catch {
        return null;
    }
}
