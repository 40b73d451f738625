// The three things one does with the document.

export function byId(id) {
    const element = document.getElementById(id);
    if (!element) {
        throw new Error(`no element #${id}`);
    }
    return element;
}

// element('li', { className: 'x' }, 'text', child, …)
export function element(tag, properties = {}, ...children) {
    const node = document.createElement(tag);
    Object.assign(node, properties);
    node.append(...children);
    return node;
}

export function setText(node, text) {
    if (node.textContent !== text) {
        node.textContent = text;
    }
}
