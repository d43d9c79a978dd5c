// Parts of the page that scripts make.

const SVG = 'http://www.w3.org/2000/svg';

/** An element with attributes and children; strings become text nodes, never markup. */
export function element(name, attributes = {}, ...children) {
  return made(document.createElement(name), attributes, children);
}

/** An icon of 24 by 24, by the lines that it is drawn with. */
export function icon(lines) {
  const path = made(document.createElementNS(SVG, 'path'), { d: lines }, []);
  const attributes = { viewBox: '0 0 24 24', 'aria-hidden': 'true' };
  return made(document.createElementNS(SVG, 'svg'), attributes, [path]);
}

function made(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
