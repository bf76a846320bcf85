/* DOM helpers shared by all parts of the page. */

export const $ = (id) => document.getElementById(id);

/** Make an element with a class and children (text or elements). Text is never read as HTML. */
export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export function makeSvg(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
